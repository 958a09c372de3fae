"""The decorated functions that the suite sends about: importable, so they go by reference."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from procession import background, isolated, parallel, parallel_chunks, parallel_map
from procession.hints import TYPE_CHECKING, Any, NoReturn
from tests.support.waiting import wait_for_file

if TYPE_CHECKING:
    from pathlib import Path


@parallel
def square(x: int) -> int:
    """The plainest function."""
    return x * x


@parallel_map
def cube(x: int) -> int:
    """A function that maps when it is called."""
    return x**3


@parallel_chunks
def doubled(numbers: list[int]) -> list[int]:
    """A function of a whole list."""
    return [2 * number for number in numbers]


@background
def negated(x: int) -> int:
    """A function that starts in the background when it is called."""
    return -x


@isolated
def alone(x: int) -> tuple[int, int]:
    """A function with a process of its own for each call."""
    return x, os.getpid()


@parallel
def power(base: int, exponent: int = 2, *, offset: int = 0) -> int:
    """A function with a default and a keyword-only argument."""
    return int(base**exponent) + offset


@parallel
def joined(*parts: str, separator: str = "-") -> str:
    """A function of any number of arguments."""
    return separator.join(parts)


@parallel
def echo(value: Any) -> Any:
    """Give back what came."""
    return value


@parallel
def make(maker: Callable[[], Any], *, wrapped: bool = False) -> Any:
    """Give what a maker makes, bare or deep inside something."""
    return {"made": [maker()]} if wrapped else maker()


@parallel
def raise_made(maker: Callable[[], BaseException]) -> None:
    """Raise what a maker makes."""
    raise maker()


@parallel
def process_id(_: object = None) -> int:
    """Tell the process it runs in."""
    return os.getpid()


@parallel
def wait_for_second(x: int, path: Path) -> int:
    """The first item waits until the second one has run."""
    if x == 0:
        wait_for_file(path)
    elif x == 1:
        path.touch()
    return x


@parallel
def wait_if_first(x: int, path: Path) -> int:
    """The first item waits until a file is there."""
    if x == 0:
        wait_for_file(path)
    return x


@parallel
def start_then_sleep(started: Path) -> None:
    """Say that it runs, then take far too long."""
    started.touch()
    time.sleep(600)


@parallel
def start_then_wait(started: Path, go: Path) -> str:
    """Say that it runs, then wait for a file."""
    started.touch()
    wait_for_file(go)
    return "done"


@parallel
def leave_mark(name: str, folder: Path) -> str:
    """Leave a file behind to show that the item was run; fails if it was run before."""
    (folder / name).touch(exist_ok=False)
    return name


class TwoArguments(Exception):
    """An exception whose constructor takes what its `args` do not hold."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class HoldsALock(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class FailsToUnpickle:
    """Pickles, and raises when it is rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ("cannot be rebuilt",)


class FailsToPickle:
    """Raises when it is pickled."""

    def __reduce__(self) -> NoReturn:
        raise ValueError("does not want to be pickled")


class ExitsWhenUnpickled:
    """Ends the process that rebuilds it, in the soft way."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


class ExitsWhenPickled:
    """Ends the process that pickles it, in the soft way."""

    def __reduce__(self) -> NoReturn:
        sys.exit(3)


class BadRepr:
    """Raises when its repr is asked for."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class ErrorThatFailsToUnpickle(Exception):
    """An exception that pickles and cannot be rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ("cannot be rebuilt",)


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


@parallel
def fails_for(x: Any, bad: Any) -> Any:
    """Raise for one item."""
    if x == bad:
        raise ValueError(f"item {x} is bad", x)
    return x


@parallel
def misbehave(x: int, how: str, bad: int = 2) -> Any:
    """Do something terrible for the bad item; square the others."""
    if x == bad:
        return TERRIBLE[how]()
    return x * x


@parallel
def misbehave_always(x: int, how: str) -> Any:
    """Do something terrible for every item."""
    return TERRIBLE[how]()


@parallel
def misbehave_once(x: int, how: str, mark: Path, bad: int = 2) -> Any:
    """Do something terrible for the bad item, but only the first time."""
    if x == bad and not mark.exists():
        mark.touch()
        return TERRIBLE[how]()
    return x * x


def _raise(error: BaseException) -> NoReturn:
    raise error


def _raise_from() -> NoReturn:
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ValueError("the effect") from error


def _raise_with_note() -> NoReturn:
    error = ValueError("noted")
    error.add_note("a note of the user's")
    raise error


def _loop_for_ever() -> NoReturn:
    while True:
        pass


def _segfault() -> None:
    import faulthandler

    # Raised for real, not by faulthandler's own helper, which writes to stderr first.
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)


TERRIBLE: dict[str, Any] = {
    "raise": lambda: _raise(ValueError("bad", 2)),
    "raise from": _raise_from,
    "raise with note": _raise_with_note,
    "two arguments": lambda: _raise(TwoArguments(7, "seven")),
    "unpicklable error": lambda: _raise(HoldsALock("locked")),
    "error that cannot be rebuilt": lambda: _raise(ErrorThatFailsToUnpickle("broken")),
    "group": lambda: _raise(ExceptionGroup("several", [ValueError(1), TypeError("two")])),
    "StopIteration": lambda: _raise(StopIteration("stop")),
    "StopAsyncIteration": lambda: _raise(StopAsyncIteration("stop")),
    "GeneratorExit": lambda: _raise(GeneratorExit()),
    "SystemExit": lambda: sys.exit(3),
    "KeyboardInterrupt": lambda: _raise(KeyboardInterrupt()),
    "unpicklable result": threading.Lock,
    "result that fails to pickle": FailsToPickle,
    "result that cannot be rebuilt": FailsToUnpickle,
    "result that exits when pickled": ExitsWhenPickled,
    "os._exit": lambda: os._exit(7),
    "os._exit(0)": lambda: os._exit(0),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": _segfault,
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "loop": _loop_for_ever,
    "sleep": lambda: time.sleep(600),
}


@parallel
def not_a_number(value: Any) -> Any:
    """Raise TypeError for anything that is no number."""
    return value + 1


@parallel
def nap(seconds: float) -> float:
    """Take some time."""
    time.sleep(seconds)
    return seconds


@parallel
def noisy(x: int) -> int:
    """Write to both standard streams, through Python and past it."""
    print("out" * 100)
    print("err" * 100, file=sys.stderr)
    os.write(1, b"raw out\n")
    os.write(2, b"raw err\n")
    return x


@parallel
def pair(first: Any, second: Any) -> tuple[Any, Any]:
    """A function of two arguments."""
    return first, second
