"""Items that run in the caller's process."""
