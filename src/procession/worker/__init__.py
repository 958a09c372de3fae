"""What happens on the far side, the same in every backend's workers."""
