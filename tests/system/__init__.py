"""What only the operating system or CPython knows."""
