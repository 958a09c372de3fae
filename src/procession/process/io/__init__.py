"""Messages between this process and its workers."""
