"""Settings, logging, storage, experiment tracking and the ledger: the ground floor."""
