"""A job as its workers know it: its function, what goes to every item, and how items are run.

Each item is given the arguments that go to every item as they were sent (`CommonArguments`). What
cannot change is loaded once. A small pickle is loaded anew for each item, and large buffers are
mapped anew with it, copied only where they are written to. A large pickle is loaded once, as long
as a look after 1, 2, 4, 8 … items finds that none of them has changed it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from procession.buffers.nameless_memory import Gone
from procession.errors import NotPicklable
from procession.forwarding.outgoing import Outgoing
from procession.hints import Any, Literal
from procession.pickling.objects import is_a
from procession.pickling.out_of_band import BroadcastBuffers
from procession.pickling.pickler import Pickling, dumps, loads
from procession.system import NamedTuple
from procession.system.cpython import pickle
from procession.system.pristine import threading

__all__ = [
    "CommonArguments",
    "Header",
    "Loading",
    "Settings",
    "Style",
    "arguments_of",
    "call_with",
    "item_function",
    "open_header",
    "pack_header",
]

Style = Literal["value", "star", "call"]
"""How an item is handed to the function: ``f(item, …)``, ``f(*item, …)``, or ``f(*args, **kw)``."""

Loading = Literal["once", "each", "watched"]
"""How the arguments that go to every item are loaded: once in each worker, for each item anew, or
once as long as no item is seen to have changed them."""

_Given = tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any]]
"""What comes before the item (an instance or class), what comes after it, and what goes by name."""

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
    common: Loading = "once"
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
    common: CommonArguments | None = None
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
    common = None
    if settings.common != "once":
        common = CommonArguments(shared, buffers, settings, function)
    try:
        prefix, args, kwargs = loads(shared, buffers) if common is None else common.first
    except (Gone, MemoryError, SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _unloadable(error, function, shared, settings) from None
    return Header(function, prefix, args, kwargs, settings, common)


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
    function, prefix, args, kwargs, settings, common = header
    if common is not None:
        prefix, args, kwargs = common.take()
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
    if header.common is not None:
        return header.common.calling(function)
    if header.settings.style == "value" and not (header.prefix or header.args or header.kwargs):
        return function
    return partial(call_with, header)


def _awaited(header: Header, value: Any) -> Any:
    import asyncio

    return asyncio.run(call_with(header, value))


_Marks = list[tuple[int | str, Any]]


class _Kept:
    """What one thread keeps, and when it is looked at next."""

    __slots__ = ("given", "items", "looks_at", "marks")

    def __init__(self, given: _Given, marks: _Marks) -> None:
        self.given = given
        self.marks = marks
        self.items = 0
        self.looks_at = 1


class CommonArguments:
    """Gives them to one item after the other. Any thread may ask.

    What is kept is kept for each thread, so that no item sees what another one does to it
    meanwhile.

    Args:
        blob: The pickled `_Given`.
        buffers: Its large buffers, or the ticket of a segment that keeps them unchanged.
        settings: How the job's items are run.
        function: What is called; for messages.
    """

    def __init__(
        self, blob: bytes, buffers: Sequence[Any], settings: Settings, function: Any
    ) -> None:
        self._blob = blob
        self._buffers = buffers
        self._settings = settings
        self._function = function
        self._mine: dict[int, _Kept] = {}
        self._fresh: list[_Given] = []
        self._kept = settings.common == "watched"

    @property
    def first(self) -> _Given:
        """What is kept; or what the first item is given."""
        if self._kept:
            return self._own().given
        if not self._fresh:
            self._fresh.append(self._load())
        return self._fresh[-1]

    def _own(self) -> _Kept:
        """What this thread keeps."""
        own = self._mine.get(threading.get_ident())
        if own is None:
            given = self._load()
            own = self._mine[threading.get_ident()] = _Kept(given, self._marked(given))
        return own

    def take(self) -> _Given:
        """The arguments for the next item; raises what loading them raises."""
        if self._kept:
            own = self._own()
            if own.items == own.looks_at:
                own.looks_at *= 2
                self._look(own)
            own.items += 1
            if self._kept:
                return own.given
        try:
            return self._fresh.pop()
        except IndexError:
            return self._load()

    def calling(self, function: Callable[..., Any]) -> Callable[[Any], Any]:
        """The function of one item's value, with arguments of its own at each call."""
        take: Callable[[], _Given] = self.take
        if not self._kept and not self._buffers:
            # Each costs a short function as much as all else of its call: no step too many.
            take = partial(pickle.loads, self._blob)
        if self._settings.style == "star":

            def call(value: Any) -> Any:
                prefix, args, kwargs = take()
                return function(*prefix, *value, *args, **kwargs)

        else:

            def call(value: Any) -> Any:
                prefix, args, kwargs = take()
                return function(*prefix, value, *args, **kwargs)

        return call

    def _load(self) -> _Given:
        buffers = self._buffers
        if isinstance(buffers, BroadcastBuffers):
            buffers = buffers.sendable()
        if not is_a(buffers, tuple):
            buffers = [bytearray(buffer) for buffer in buffers]
        given: _Given = loads(self._blob, buffers)
        return given

    def _look(self, own: _Kept) -> None:
        """Keep them no more if some item has changed them."""
        given, before = own.given, own.marks
        now = self._marked(given)
        if before == now:
            return
        self._kept = False
        self._mine.clear()
        pairs = zip(before, now, strict=False)
        place = next((place for (place, mark), (_, new) in pairs if mark != new), 0)
        self._warn(place, len(given[0]))

    def _warn(self, place: int | str, before: int) -> None:
        """Warn of a large argument that an item has changed.

        Args:
            place: Its place among those that go to every item, or its name.
            before: How many of them come before the item.
        """
        import warnings

        from procession.errors import ParallelWarning
        from procession.explaining.explain import parameters

        function = self._function
        if isinstance(place, int):
            if self._settings.style == "value" and place >= before:
                place += 1
            place = parameters(function, (None,) * (place + 1), {})[place][0]
        code = getattr(function, "__code__", None)
        warnings.warn_explicit(
            f"{self._settings.name}() changes its argument {place!r}, which goes to every item. "
            "Each item is to see it as it was sent, so it is loaded anew for each from now on. "
            "That takes time for one so large. Change a copy; or pass "
            f"procession.shared.put({place}), which is loaded once and keeps what items do to it; "
            "or procession.shared.array for memory that all write to.",
            ParallelWarning,
            getattr(code, "co_filename", "<unknown>"),
            getattr(code, "co_firstlineno", 1),
            getattr(function, "__module__", None) or "<unknown>",
        )

    def _marked(self, given: _Given) -> _Marks:
        """A mark for each argument, which is another one once the argument has changed."""
        prefix, args, kwargs = given
        places: list[tuple[int | str, Any]] = [*enumerate((*prefix, *args)), *kwargs.items()]
        return [(place, self._mark(value)) for place, value in places]

    def _mark(self, value: Any) -> Any:
        buffers: list[Any] = []
        try:
            blob = dumps(value, self._settings.pickling, buffers)
        except Exception:
            return object()  # equal to none: it can be pickled no more
        import zlib

        return hash(blob), [zlib.crc32(buffer.raw()) for buffer in buffers]
