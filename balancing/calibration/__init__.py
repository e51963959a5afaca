"""From logits to decisions, in numpy alone; what fits it lives in ``fitting``."""
