"""What goes out of band: large buffers in a segment, and what a pickle refers to by an address.

`bytes` and `bytearray` hand out no buffers by themselves. Where one of them is the value itself, or
an argument of the call, it leaves the pickle too.

What is sent as an address (memory, pipes, what was put) must be kept by its sender until it has
been opened. So it notes itself while it is pickled, for `with_senders` in the same thread. To
another machine only what was put crosses: its pickle names it by a key. The content is laid down
there once, and each pickle that a worker is given comes with the tickets of that memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pickle import PickleBuffer

from procession.buffers.sender import Placed, segments
from procession.hints import Any, TypeVar
from procession.pickling.objects import SCALARS, class_of, is_one_of
from procession.pickling.pickler import LARGE, Pickling, dumps, loads
from procession.pickling.refusals import Refusal, Refused
from procession.system import after_fork
from procession.system.descriptors import NAMELESS, offer
from procession.system.pristine import threading

T = TypeVar("T")

replacements: dict[int, Any] = {}
"""What goes into a pickle instead of an object, by the object's id. It is for objects of builtin
types, which the C pickler does not ask about. They are found where they are arguments."""

put_keys: set[Any] = set()
"""Keys of what was put (`procession.shared.put`). The same object may be put again, and what was
sent before must still find what it referred to; other senders live as long as their object."""

_MOST_ARGUMENTS = 64
"""Tuples and dicts of more elements are data rather than arguments, and not searched. A guess."""

_LARGE_INT = 1 << 256

_OF_THIS_MACHINE = Refusal(
    "an object of procession.shared",
    "It is memory of this machine, which no other one can see.",
    "On a cluster only procession.shared.put(...) crosses: return results, or write them where all "
    "machines can reach them.",
)

_LOOKED_AT = frozenset({tuple, dict, bytes, bytearray})
"""What is itself exchanged, or holds what may be."""

_thread = threading.local()

_home_is_far = False
"""Whether this is a worker whose caller is on another machine."""


class _Raw:
    """Stands for bytes or a bytearray in the pickle; becomes it again when unpickled."""

    __slots__ = ("value",)

    def __init__(self, value: bytes | bytearray) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self.value), (PickleBuffer(self.value),)


def dumps_out_of_band(
    value: Any, pickling: Pickling, *, private: bool = False, transit: bool = False
) -> tuple[bytes, tuple[Any, ...]]:
    """Pickle a value as `dumps` does; what is large goes into a segment (see `Segments.place`).

    Returns:
        The pickle, and the ticket that `loads` needs with it, or an empty tuple.
    """
    if not NAMELESS or type(value) in SCALARS:
        return dumps(value, pickling), ()
    buffers: list[Any] = []
    blob = dumps(bytes_out_of_band(value), pickling, buffers)
    if not buffers:
        return blob, ()
    placed = segments.place(buffers, private=private, transit=transit)
    if placed is None:
        return dumps(value, pickling), ()
    return blob, placed


def fits_message(value: Any) -> bool:
    """Whether a message can hold the value itself: pickling it, and back, takes twice as long.

    A large integer does not: what waits to be sent is bounded by its pickle's bytes.
    """
    kind = class_of(value)
    return is_one_of(kind, SCALARS) and (kind is not int or -_LARGE_INT < value < _LARGE_INT)


def bytes_out_of_band(value: Any, others: dict[int, Any] = replacements) -> Any:
    """The value; each large `bytes` and `bytearray` that is an argument will leave the pickle.

    `others` go into it instead of the objects of these ids.
    """
    if not (others or is_one_of(class_of(value), _LOOKED_AT)):
        return value
    found: dict[int, Any] = {}
    _find((value,), 3, found, others)
    return _exchange(value, 2, found) if found else value


def _find(values: Iterable[Any], depth: int, found: dict[int, Any], others: dict[int, Any]) -> None:
    for value in values:
        kind = class_of(value)
        if is_one_of(kind, SCALARS):
            continue
        if others and id(value) in others:
            found[id(value)] = others[id(value)]
        elif kind is bytes or kind is bytearray:
            if len(value) >= LARGE:
                found[id(value)] = _Raw(value)
        elif depth > 1 and (kind is tuple or kind is dict) and 0 < len(value) <= _MOST_ARGUMENTS:
            _find(value.values() if kind is dict else value, depth - 1, found, others)


def _exchange(value: Any, depth: int, found: dict[int, Any]) -> Any:
    raw = found.get(id(value))
    if raw is not None:
        return raw
    kind = class_of(value)
    if not depth or (kind is not tuple and kind is not dict) or len(value) > _MOST_ARGUMENTS:
        return value
    if kind is tuple:
        return tuple([_exchange(each, depth - 1, found) for each in value])
    return {key: _exchange(each, depth - 1, found) for key, each in value.items()}


class BroadcastBuffers(list[Any]):
    """Buffers that go to every worker of a job: written once, when the first one is sent to."""

    def __init__(self, buffers: list[PickleBuffer]) -> None:
        super().__init__(buffers)
        self._lock = after_fork.lock()
        self._sendable: Any = None

    def sendable(self) -> Any:
        """The ticket; where no memory is left, a list of the bytes themselves."""
        with self._lock:
            if self._sendable is None:
                placed: Placed | None = segments.place(self, private=True) if NAMELESS else None
                if placed is None:
                    self._sendable = [bytearray(buffer.raw()) for buffer in self]
                else:
                    self._sendable = placed
                self.clear()  # and let the caller's own memory go
            return self._sendable

    def __bool__(self) -> bool:
        return True


# -- addresses ---------------------------------------------------------------------------------


@contextmanager
def crosses_machines(far: bool = True) -> Generator[None, None, None]:
    """What this thread pickles meanwhile goes to another machine, where no address of ours holds.

    Only what says so itself crosses then: it has ``crosses_machines``.

    Args:
        far: Whether it does; if not, nothing changes.
    """
    before = is_far()
    _thread.far = far or before
    try:
        yield
    finally:
        _thread.far = before


def is_far() -> bool:
    """Whether what this thread pickles goes to another machine."""
    return getattr(_thread, "far", False)


def note_sent(sender: object) -> None:
    """Called by what is pickled as an address.

    Raises:
        Refused: It goes to another machine.
    """
    if is_far() or goes_home_far():
        if not hasattr(sender, "crosses_machines"):
            raise Refused(_OF_THIS_MACHINE)
    else:
        offer()
    collected: list[object] | None = getattr(_thread, "collected", None)
    if collected is not None:
        collected.append(sender)


def home_is_far() -> None:
    """From now on what this process's items return goes to another machine."""
    global _home_is_far
    _home_is_far = True


def goes_home_far() -> bool:
    """Whether what this thread pickles is a result for another machine: this one does not keep it,
    as it does what it sends to processes of its own."""
    return _home_is_far and getattr(_thread, "collected", None) is None


def with_senders(work: Callable[[], T], *, far: bool = False) -> tuple[T, list[object]]:
    """What `work` returns, and what was pickled as an address meanwhile, to be kept.

    Args:
        work: Pickles something.
        far: Whether that goes to another machine.
    """
    if far:
        with crosses_machines():
            return with_senders(work)
    before = getattr(_thread, "collected", None)
    sent: list[object] = []
    _thread.collected = sent
    try:
        return work(), sent
    finally:
        _thread.collected = before
        if before is not None:
            before += sent


# -- what was put, on another machine ----------------------------------------------------------

_tickets: dict[Any, Any] = {}
"""Those that this worker was given, by key."""


class _Ticketed:
    """A pickle that tells its tickets before it is loaded."""

    def __init__(self, blob: bytes, tickets: Mapping[Any, Any]) -> None:
        self._blob = blob
        self._tickets = tickets

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_ticketed, (self._blob, dict(self._tickets))


def with_tickets(blob: Any, tickets: Mapping[Any, Any]) -> Any:
    """What a worker is given for a pickle; what is no pickle needs no tickets."""
    return pickle.dumps(_Ticketed(blob, tickets), 5) if type(blob) is bytes and tickets else blob


def _load_ticketed(blob: bytes, tickets: Mapping[Any, Any]) -> Any:
    _tickets.update(tickets)
    return loads(blob)


def ticket_of(key: Any) -> Any:
    """Where the object with this key lies on this machine."""
    return _tickets[key]
