"""The passport of a version: one page and one JSON that a validator reads without us."""
