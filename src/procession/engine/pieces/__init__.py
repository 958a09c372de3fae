"""Splitting data into pieces, and joining results again."""
