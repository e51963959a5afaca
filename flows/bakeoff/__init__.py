"""The bake-off: strategies against each other and against trees, on the same rows."""
