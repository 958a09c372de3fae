"""What is said of what does not cross."""
