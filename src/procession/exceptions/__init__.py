"""How exceptions cross, with their tracebacks."""
