"""A library with a logger class of its own, which it makes its logger with while it is imported."""

from __future__ import annotations

import logging
from typing import cast


class OwnLogger(logging.Logger):
    """A logger with a method that plain ones lack."""

    def notice(self, text: str) -> None:
        """Log at a level of its own."""
        self.log(25, text)


def _make() -> OwnLogger:
    before = logging.getLoggerClass()
    logging.setLoggerClass(OwnLogger)
    try:
        return cast("OwnLogger", logging.getLogger("tests.own"))
    finally:
        logging.setLoggerClass(before)


logger = _make()
