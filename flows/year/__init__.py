"""A simulated year in production: drift, a new fraud, late labels, and what retraining gave."""
