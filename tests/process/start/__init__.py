"""How workers start."""
