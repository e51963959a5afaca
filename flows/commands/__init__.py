"""The commands, grouped by what they are about; each is a thin door to a plain function."""
