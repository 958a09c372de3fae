"""What a signal handler raises is the caller's; what an item raises is the item's."""

from __future__ import annotations

import bdb
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import procession
from procession import TaskExited, parallel
from procession.system.interrupts import strikes


class Deadline(Exception):
    """What a caller's alarm raises."""


@parallel(workers=2)
def struck(x: int) -> int:
    """Item 2 is struck by a signal while it runs."""
    if x == 2:
        signal.raise_signal(signal.SIGUSR1)
    return x


@parallel(workers=2)
def protected(x: int) -> int:
    """Item 2 is struck, and takes what the handler raises for an error that it knows."""
    try:
        return struck.local(x)
    except Deadline:
        return -x


@parallel(workers=2)
def interrupts(x: int) -> int:
    """Item 2 raises KeyboardInterrupt itself."""
    if x == 2:
        raise KeyboardInterrupt
    return x


def _raise(number: int, frame: Any) -> None:
    raise Deadline


class Handlers:
    """Handlers of other kinds than a function."""

    def method(self, number: int, frame: Any) -> None:
        """Raises in what it calls."""
        _raise(number, frame)

    def __call__(self, number: int, frame: Any) -> None:
        """Ends the program."""
        sys.exit(3)


def _forgets(number: int, frame: Any) -> None:
    del frame
    raise Deadline


HANDLERS: dict[str, tuple[Any, type[BaseException]]] = {
    "function": (_raise, Deadline),
    "lambda": (lambda *given: sys.exit(143), SystemExit),
    "method": (Handlers().method, Deadline),
    "object": (Handlers(), SystemExit),
    "partial": (functools.partial(lambda code, *_: sys.exit(code), 4), SystemExit),
    "forgets its frame": (_forgets, Deadline),
    "Ctrl-C": (signal.default_int_handler, KeyboardInterrupt),
}


@pytest.fixture(autouse=True)
def handler(request: pytest.FixtureRequest) -> Iterator[type[BaseException]]:
    """A handler, and what it raises."""
    set_now, raises = HANDLERS[getattr(request, "param", "function")]
    before = signal.signal(signal.SIGUSR1, set_now)
    yield raises
    signal.signal(signal.SIGUSR1, before)


VERBS: dict[str, Callable[[Any, Any], Any]] = {
    "map": lambda f, items: f.map(items),
    "starmap": lambda f, items: f.starmap((item,) for item in items),
    "imap": lambda f, items: list(f.imap(items)),
    "imap_unordered": lambda f, items: list(f.imap_unordered(items)),
    "outcomes": lambda f, items: [outcome.value for outcome in f.outcomes(items)],
}
PLACES: dict[str, dict[str, Any]] = {
    "cold": {},
    "inline": {"inline": True},
    "serial": {"backend": "serial"},
    "retried": {"inline": True, "retries": 3, "retry_on": Exception},
    "seeded": {"inline": True, "seed": 1},
}


def at(function: Any, place: str) -> Any:
    """The function, where items run in this process."""
    procession.shutdown()
    options = dict(PLACES[place])
    if place == "serial":
        options["workers"] = None
    return function.with_options(**{k: v for k, v in options.items() if v is not None})


@pytest.mark.parametrize("handler", HANDLERS, indirect=True)
@pytest.mark.parametrize("verb", VERBS)
def test_a_handler_s_exception_ends_the_call(verb: str, handler: type[BaseException]) -> None:
    """It is raised to the caller at once, whatever it is, and is no item's outcome."""
    with pytest.raises(handler) as caught:
        VERBS[verb](at(struck, "cold"), range(8))
    assert not getattr(caught.value, "__notes__", None)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", VERBS)
def test_wherever_items_run_here(verb: str, place: str) -> None:
    """Serial, inline, seeded or retried: the handler's exception is not the item's, nor retried."""
    with pytest.raises(Deadline) as caught:
        VERBS[verb](at(struck, place), [1, 2, 3])
    assert not getattr(caught.value, "__notes__", None)


def test_a_single_call_that_runs_here() -> None:
    """`submit` on serial raises it, too: it is not the call's."""
    with pytest.raises(Deadline):
        struck.with_options(backend="serial").submit(2)


def test_what_the_item_catches_is_its_own_affair() -> None:
    """An item that takes the handler's exception for its own gives a result, as in a loop."""
    assert protected.map([1, 2, 3]) == [1, -2, 3]


@pytest.mark.parametrize("inline", ["auto", False])
def test_while_results_are_taken(inline: Any) -> None:
    """A handler that strikes while a result is rebuilt here ends the call as well."""
    outcomes = rebuilt.with_options(inline=inline).outcomes([os.getpid()])
    if inline is False:
        with pytest.raises(Deadline):
            list(outcomes)
    else:
        assert [each.ok for each in outcomes] == [True]


class StruckWhenRebuilt:
    """An object whose rebuilding here is struck by a signal."""

    def __init__(self, caller: int) -> None:
        self.caller = caller

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.caller,)


def _rebuild(caller: int) -> StruckWhenRebuilt:
    if os.getpid() == caller:
        signal.raise_signal(signal.SIGUSR1)
    return StruckWhenRebuilt(caller)


@parallel(workers=1)
def rebuilt(caller: int) -> StruckWhenRebuilt:
    """Give one."""
    return StruckWhenRebuilt(caller)


class StruckWhenPickled:
    """An object whose pickling is struck by a signal."""

    def __reduce__(self) -> tuple[Any, ...]:
        signal.raise_signal(signal.SIGUSR1)
        return int, ()


@pytest.mark.parametrize("inline", ["auto", False])
@pytest.mark.parametrize("verb", ["map", "outcomes"])
def test_while_an_item_is_pickled(verb: str, inline: Any) -> None:
    """So does one that strikes while an item is pickled."""
    with pytest.raises(Deadline):
        VERBS[verb](struck.with_options(inline=inline), [StruckWhenPickled()])


@pytest.mark.parametrize("place", [*PLACES, "process", "thread"])
@pytest.mark.parametrize("verb", VERBS)
def test_an_item_s_own_keyboard_interrupt(verb: str, place: str) -> None:
    """An item that raises KeyboardInterrupt itself ends no program: it is told as TaskExited."""
    if place in PLACES:
        function = at(interrupts, place)
    else:
        function = interrupts.with_options(backend=place, inline=False)
    with pytest.raises(TaskExited, match="raised KeyboardInterrupt"):
        VERBS[verb](function, [1, 2, 3])


def test_a_call_is_no_handler() -> None:
    """A function that a handler is made of can be called by an item; that is the item's."""

    def item() -> None:
        _raise(signal.SIGUSR1, None)

    with pytest.raises(Deadline) as caught:
        item()
    assert not strikes(caught.value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_debugger_is_told_to_quit(verb: str, place: str) -> None:
    """What a trace function raises while an item runs ends the call, as it ends a loop."""
    function = at(struck, place)
    procession.shutdown()
    debugger = Quits()
    before = sys.gettrace()
    sys.settrace(debugger.dispatch)
    try:
        with pytest.raises(bdb.BdbQuit):
            VERBS[verb](function, [1, 3])
    finally:
        sys.settrace(before)
    assert debugger.asked


class Quits:
    """A debugger that is told to quit at the first line of an item."""

    asked = False

    def dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:
        """As `bdb.Bdb.trace_dispatch`."""
        if frame.f_code is struck.local.__code__ and event == "line":
            self.asked = True
            raise bdb.BdbQuit
        return self.dispatch


@pytest.mark.parametrize("event", ["call", "c_return"])
@pytest.mark.parametrize("place", ["cold", "serial"])
def test_what_a_profile_function_raises(place: str, event: str) -> None:
    """At the beginning of an item and after a call that it makes, it is the caller's."""
    function = at(lengths, place)

    def profile(frame: FrameType, now: str, _: object) -> None:
        if frame.f_code is lengths.local.__code__ and now == event:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        with pytest.raises(KeyboardInterrupt):
            function.map(["a", "b"])
    finally:
        sys.setprofile(None)


@parallel(workers=2)
def lengths(text: str) -> int:
    """An item that calls a function written in C."""
    return len(text)
