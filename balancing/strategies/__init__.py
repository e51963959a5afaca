"""Ways to train on rare positives, one a file; the registry knows them by name."""
