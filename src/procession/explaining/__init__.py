"""Why a value does not cross, by its path, and what to do about it."""
