"""Networks trained on rare positives, and the calibrated decisions made from their logits."""
