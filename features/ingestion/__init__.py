"""From a file or a query to a table in the types that its contract gives it."""
