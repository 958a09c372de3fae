"""A running map: its input, what is in flight, its results."""
