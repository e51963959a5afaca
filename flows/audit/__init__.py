"""Which model decided what, why, and proof of it."""
