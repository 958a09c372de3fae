"""Items that log and warn in odd ways."""

from __future__ import annotations

import logging
import threading
import warnings

from procession import parallel

logger = logging.getLogger("tests.odd")


class Reprless:
    """What can neither cross nor be shown."""

    def __reduce__(self) -> str:
        raise TypeError("no way")

    def __repr__(self) -> str:
        raise ValueError("no repr")


class Bound(UserWarning):
    """A warning that cannot cross."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


@parallel(inline=False)
def malformed(x: int) -> int:
    """A log call whose arguments do not fit its text."""
    logger.warning("%d apples", "three")
    logger.warning("after it")
    return x


@parallel(inline=False)
def odd_extra(x: int) -> int:
    """One record with extras that cannot cross, between others that can."""
    logger.warning("before", extra={"tags": ["a", "b"]})
    logger.warning(
        "odd", extra={"lock": threading.Lock(), "tags": {"c": 1}, "hidden": Reprless(), "n": 5}
    )
    warnings.warn("about something", FutureWarning, stacklevel=1)
    warnings.warn(Bound("held"), stacklevel=1)
    logger.warning("after", extra={"tags": ("d",)})
    return x


@parallel(inline=False)
def bad_traceback(x: int) -> int:
    """A record with an error whose text cannot be had."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    try:
        raise Mute
    except Mute:
        logger.warning("failed", exc_info=True)
    return x


@parallel(inline=False)
def nothing(x: int) -> int:
    """An item of no interest."""
    return x


@parallel(inline=False)
def own(x: int) -> str:
    """Log by a library's own logger class, whose module is imported only here."""
    from tests.conformance.own_loggers import logger as theirs

    theirs.notice("noticed")
    return type(theirs).__name__


@parallel(inline=False)
def named_level(x: int) -> int:
    """Log at a level that only the caller has named."""
    logger.log(33, "special")
    return x


@parallel(inline=False)
def enabled(_: int) -> bool:
    """Whether warnings would be logged."""
    return logger.isEnabledFor(logging.WARNING)
