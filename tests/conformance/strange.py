"""User code that does what it likes where the library meets it: pickling, handlers, callbacks."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings

from procession import parallel
from procession.hints import TYPE_CHECKING, Any
from tests.support.waiting import wait_for_file

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 30.0
HERE = threading.local()

gate = threading.Event()
"""What code in the test's own process waits for; workers have another one, which is open."""

entered = threading.Event()
"""Set by whoever waits for the gate."""


def wait_here() -> None:
    """Wait for the gate, in the test's process."""
    entered.set()
    assert gate.wait(PATIENCE)


def double(x: Any) -> Any:
    """The plainest item."""
    return 2 * x


def double_when(x: Any, path: Path) -> Any:
    """As `double`, once the file is there."""
    wait_for_file(path)
    return 2 * x


def ident(x: Any) -> Any:
    """What was given."""
    return x


def logs(x: int) -> int:
    """Logs a record and gives a warning."""
    logging.getLogger("strange").warning("item %d", x)
    warnings.warn(f"warned {x}", UserWarning, stacklevel=1)
    return x


def logs_and_fails(x: int) -> int:
    """Logs, and asks for another attempt."""
    logging.getLogger("strange").warning("item %d", x)
    raise LookupError(x)


class HangsWhenRebuilt:
    """Comes home slowly: rebuilding it waits for the gate."""

    def __reduce__(self) -> Any:
        return _rebuilt, (False,)


class MapsWhenRebuilt:
    """Comes home by way of another map."""

    def __reduce__(self) -> Any:
        return _rebuilt, (True,)


def _rebuilt(maps: bool) -> Any:
    if maps:
        return parallel(workers=2, inline=False, threads_per_worker=3)(double).map([1, 2, 3])
    wait_here()
    return "rebuilt"


def gives(kind: type) -> Any:
    """An object of this kind."""
    return kind()


class HangsError(Exception):
    """An exception that is slow to come home, to the process that it is told of."""

    def __reduce__(self) -> Any:
        return _rebuilt_error, self.args


def _rebuilt_error(home: int) -> BaseException:
    if os.getpid() == home:
        wait_here()
    return HangsError(home)


def raises(home: int) -> int:
    """Raises what is slow to come home."""
    raise HangsError(home)


class HangsWhenSent:
    """Pickling it waits for the gate."""

    def __reduce__(self) -> Any:
        wait_here()
        return int, (7,)


class MapsWhenSent:
    """Pickling it makes calls of ours."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __reduce__(self) -> Any:
        return int, (self._call(),)


class ExitsWhenRebuilt:
    """Rebuilding it ends the program, were it up to it."""

    def __reduce__(self) -> Any:
        return sys.exit, (3,)
