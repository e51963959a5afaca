"""Metrics for rare positives, in numpy alone: ranking, operating points, alerts, calibration."""
