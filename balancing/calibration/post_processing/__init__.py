"""What is done to a trained network's logits before they are calibrated: one file a method."""
