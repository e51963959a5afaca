"""Retraining: a new version of a released model, from a window of rows to the gate's verdict."""
