"""Where a version comes from and where it went: backwards from it, and forwards from a file."""
