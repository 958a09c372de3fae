"""How errors cross."""
