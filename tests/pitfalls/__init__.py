"""Warnings about functions, when they are decorated."""
