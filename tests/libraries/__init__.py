"""Other people's libraries, unchanged, with a `Pool` or a decorated function of Procession's."""
