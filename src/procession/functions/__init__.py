"""What is sent for a function, and whether it is still the same."""
