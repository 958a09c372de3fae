"""What a profile is told."""
