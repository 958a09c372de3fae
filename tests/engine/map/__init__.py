"""A running map."""
