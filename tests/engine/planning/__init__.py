"""What is settled before a call runs."""
