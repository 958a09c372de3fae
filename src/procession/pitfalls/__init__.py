"""What works in one process and quietly does not in several, seen in a function's code."""
