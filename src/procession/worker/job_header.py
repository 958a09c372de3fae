"""A job as its workers know it: its function, what goes to every item, and how items are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from procession.buffers.nameless_memory import Gone
from procession.errors import NotPicklable
from procession.forwarding.outgoing import Outgoing
from procession.hints import TYPE_CHECKING, Any, Literal
from procession.pickling.pickler import Pickling, loads
from procession.system import NamedTuple
from procession.system.cpython import pickle

if TYPE_CHECKING:
    from procession.worker.argument_copies import ArgumentCopies

Style = Literal["value", "star", "call"]
"""How an item is handed to the function: ``f(item, …)``, ``f(*item, …)``, or ``f(*args, **kw)``."""

Loading = Literal["once", "each", "watched"]
"""How the arguments that go to every item are loaded: once in each worker, for each item anew, or
once as long as no item is seen to have changed them."""

_COROUTINE = 0x80  # inspect.CO_COROUTINE: inspect is slow to import


class Settings(NamedTuple):
    """How a job's items are run."""

    name: str
    style: Style
    pickling: Pickling
    seed: int | None = None
    nested: str = "serial"
    out: Outgoing | None = None
    exits: bool = False
    """Whether SystemExit and KeyboardInterrupt go home as themselves (`Pool`'s futures)."""
    timed: bool = False
    """Whether a profile is open, so that each reply is to tell its `Reply.timing`."""
    interpreter: bytes = b""
    """What differs from Python's defaults in the caller's thread
    (`forwarding.interpreter_settings`)."""
    loading: Loading = "once"
    """How the arguments that go to every item are loaded."""
    each: bool = False
    """Whether the seconds of each item are wanted, and not only of all together."""


class Header(NamedTuple):
    """A job as the worker sees it once the header is open."""

    function: Callable[..., Any]
    prefix: tuple[Any, ...]
    """The instance or class of a method; comes before the item."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    settings: Settings
    copies: ArgumentCopies | None = None
    """Gives each item those arguments as they were sent, if an item could change them."""


def pack_header(function: bytes, shared: bytes, settings: Settings, of_shared: int = 0) -> bytes:
    """Put a job together.

    Args:
        function: As `dump_function` gives it.
        shared: The pickled ``(prefix, args, kwargs)``.
        settings: How items are run.
        of_shared: How many of the job's large buffers belong to `shared`; the others are the
            function's.
    """
    return pickle.dumps((function, shared, settings, of_shared), 5)


def open_header(header: bytes, buffers: Sequence[Any] = ()) -> Header:
    """Load the function and the shared arguments of a job.

    Raises:
        Exception: What the import of the function's module, or unpickling, raises.
    """
    from procession.functions.loading import load_function

    packed, shared, settings, of_shared = pickle.loads(header)
    function = load_function(packed, _opened(buffers)[of_shared:] if buffers else ())
    copies = None
    if settings.loading != "once":
        copies = argument_copies(shared, buffers, settings, function)
    try:
        prefix, args, kwargs = loads(shared, buffers) if copies is None else copies.first
    except (Gone, MemoryError, SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _unloadable(error, function, shared, settings) from None
    return Header(function, prefix, args, kwargs, settings, copies)


def _opened(buffers: Sequence[Any]) -> Sequence[Any]:
    """The buffers themselves, if a ticket was given."""
    if not isinstance(buffers, tuple):
        return buffers
    from procession.buffers.receiver import open_ticket

    return open_ticket(buffers)


def _unloadable(
    error: BaseException, function: Any, shared: bytes, settings: Settings
) -> NotPicklable:
    """Why the arguments that go to every item could not be rebuilt here."""
    from procession.explaining.explain import parameters
    from procession.explaining.unloadable import explain_unloadable

    def roots(whole: Any) -> list[tuple[str, Any]]:
        prefix, args, kwargs = whole
        item = (None,) if settings.style == "value" else ()
        return parameters(function, (*prefix, *item, *args), kwargs)

    return explain_unloadable(
        error,
        where="argument",
        function=settings.name,
        root="argument",
        blob=shared,
        roots=roots,
    )


def arguments_of(header: Header, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """All arguments that the function is called with for one item."""
    if header.settings.style == "call":
        args, kwargs = value
        return (*header.prefix, *args), kwargs
    own = tuple(value) if header.settings.style == "star" else (value,)
    return (*header.prefix, *own, *header.args), header.kwargs


def call_with(header: Header, value: Any) -> Any:
    """Call the function for one item."""
    function, prefix, args, kwargs, settings, copies = header
    if copies is not None:
        prefix, args, kwargs = copies.take()
    if settings.style == "value":
        return function(*prefix, value, *args, **kwargs)
    if settings.style == "star":
        return function(*prefix, *value, *args, **kwargs)
    args, kwargs = value
    return function(*prefix, *args, **kwargs)


def item_function(header: Header) -> Callable[[Any], Any]:
    """What gives the result for an item's value; all that can be is looked up now."""
    function = header.function
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _COROUTINE:
        return partial(_awaited, header)
    if header.copies is not None:
        return header.copies.calling(function, star=header.settings.style == "star")
    if header.settings.style == "value" and not (header.prefix or header.args or header.kwargs):
        return function
    return partial(call_with, header)


def _awaited(header: Header, value: Any) -> Any:
    import asyncio

    return asyncio.run(call_with(header, value))


def argument_copies(
    blob: bytes, buffers: Sequence[Any], settings: Settings, function: Any
) -> ArgumentCopies:
    """What gives each item the arguments that go to every one.

    Args:
        blob: They, pickled.
        buffers: Their large buffers, or the ticket of a segment that keeps them unchanged.
        settings: How the job's items are run.
        function: What is called; for messages.
    """
    from procession.worker.argument_copies import ArgumentCopies  # most jobs need none

    watched = settings.loading == "watched"
    changed = partial(_warn_of_change, settings, function) if watched else None
    return ArgumentCopies(blob, buffers, settings.pickling, changed)


def _warn_of_change(settings: Settings, function: Any, place: int | str, before: int) -> None:
    """Warn of a large argument that an item has changed.

    Args:
        settings: How the job's items are run.
        function: What is called.
        place: The argument's place among those that go to every item, or its name.
        before: How many of them come before the item.
    """
    import warnings

    from procession.errors import ParallelWarning
    from procession.explaining.explain import parameters

    if isinstance(place, int):
        if settings.style == "value" and place >= before:
            place += 1
        place = parameters(function, (None,) * (place + 1), {})[place][0]
    code = getattr(function, "__code__", None)
    warnings.warn_explicit(
        f"{settings.name}() changes its argument {place!r}, which goes to every item. "
        "Each item is to see it as it was sent, so it is loaded anew for each from now on. "
        "That takes time for one so large. Change a copy; or pass "
        f"procession.shared.put({place}), which is loaded once and keeps what items do to it; "
        "or procession.shared.array for memory that all write to.",
        ParallelWarning,
        getattr(code, "co_filename", "<unknown>"),
        getattr(code, "co_firstlineno", 1),
        getattr(function, "__module__", None) or "<unknown>",
    )
