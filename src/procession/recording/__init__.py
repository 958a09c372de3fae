"""What a profile is told while a call runs."""
