"""Fits what ``balancing.calibration`` applies; never imported by the service."""
