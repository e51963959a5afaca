"""Rules on rows and tables: what goes on, what is quarantined, what stops the flow."""
