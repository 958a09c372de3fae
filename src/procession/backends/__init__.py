"""Where chunks run: one file for each kind of place."""
