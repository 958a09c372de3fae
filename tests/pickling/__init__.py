"""How objects are pickled."""
