"""Options: their names, values and sources."""
