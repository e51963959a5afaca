"""The pipeline put together, from validation to release, and the command line."""
