"""The gate: whether a challenger may take its champion's place, and what speaks for it."""
