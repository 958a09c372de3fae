"""What only the operating system, or CPython's private side, knows."""
