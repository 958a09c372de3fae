"""What is sent for a function."""
