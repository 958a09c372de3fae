"""The pool of worker processes: its state, and what acts on it."""
