"""Functions of a module that does not import `logging`, for workers that have not either."""

import sys


def loaded(name: str) -> bool:
    """Whether a module is loaded."""
    return name in sys.modules


def log_late(message: str) -> bool:
    """Log; whether `logging` was loaded before."""
    before = loaded("logging")
    import logging

    logging.getLogger("tests.system.quiet").info(message)
    return before
