"""What crosses between processes, and how."""
