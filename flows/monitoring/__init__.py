"""Monitoring: whether a live model still sees what it was made for, and still does what it did."""
