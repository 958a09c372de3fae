"""Our own worker processes and their pool."""
