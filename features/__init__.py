"""From a table and a contract to typed, validated, point-in-time features."""
