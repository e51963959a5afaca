"""Trees and a linear model: what a network must beat, on the same rows."""
