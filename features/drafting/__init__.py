"""A contract proposed for a table that nobody here has seen."""
