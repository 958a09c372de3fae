"""Procession's own workers, seen from inside."""
