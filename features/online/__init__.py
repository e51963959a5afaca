"""Features over time for one incoming row: stored events, and the values they give."""
