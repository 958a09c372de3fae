"""Exceptions on their way home: the user's own type, its causes, and a readable traceback.

An exception is taken apart into records: one for it and one for each exception that it hangs
together with. Each is pickled alone and rebuilt once here before it is sent, so that what cannot be
sent is replaced alone. Constructors are not called again, so any signature will do. A class that
says itself how it is pickled is an exception to that.
"""

from __future__ import annotations

from functools import partial

from procession.errors import NotPicklable
from procession.hints import Any
from procession.pickling.notes import add_note
from procession.pickling.objects import a_type, class_of, is_a, short_repr, text_of, type_name
from procession.pickling.pickler import Pickling, dumps, loads
from procession.pickling.reducers import has_own_reduce, make_exception, put_back, take_apart
from procession.pickling.refusals import Refused
from procession.pickling.tracebacks import Frame, pack_traceback, unpack_traceback
from procession.system import NamedTuple
from procession.system.cpython import pickle
from procession.system.interrupts import strikes

_MOST = 200
"""Exceptions sent of one chain or group; the rest is cut off."""


class _Record(NamedTuple):
    core: bytes
    """Pickled (class, arguments, state), or a pickled `NotPicklable` that stands in."""
    kind: str
    """``"plain"``, ``"own"`` (rebuilt by the class's own reduce), ``"group"``, ``"stand-in"``."""
    summary: str
    frames: list[Frame]
    notes: list[str]
    suppress: bool
    cause: int | None
    context: int | None
    children: list[int]


def dump_exception(exc: BaseException, pickling: Pickling = "strict") -> bytes:
    """Pickle an exception with its traceback, causes, contexts, notes and members.

    Never raises: what cannot be sent arrives as a `NotPicklable` that tells about it.
    """
    try:
        linked = _linked(exc)
        places = {id(one): place for place, one in enumerate(linked)}
        records = [_record(one, places, pickling) for one in linked]
    except BaseException as problem:  # its class does as it likes with attributes that all have
        core = pickle.dumps(_stand_in(exc, problem), 5)
        records = [_Record(core, "stand-in", _summary(exc), [], [], False, None, None, [])]
    return pickle.dumps([tuple(record) for record in records], 5)


def _notes(exc: BaseException) -> list[str]:
    try:
        return [str(note) for note in getattr(exc, "__notes__", None) or ()]
    except BaseException:
        return []  # code of its own, in __getattr__ or in a note's __str__, that raises


def _linked(exc: BaseException) -> list[BaseException]:
    """The exception, and all that it leads to."""
    found = [exc]
    seen = {id(exc)}
    for one in found:
        for other in (one.__cause__, one.__context__, *_children(one)):
            if other is not None and id(other) not in seen and len(found) < _MOST:
                seen.add(id(other))
                found.append(other)
    return found


def _children(exc: BaseException) -> tuple[BaseException, ...]:
    group: Any = exc
    return group.exceptions if is_a(exc, BaseExceptionGroup) else ()


def _record(exc: BaseException, places: dict[int, int], pickling: Pickling) -> _Record:
    core, kind, remarks = _core(exc, pickling)
    return _Record(
        core,
        kind,
        _summary(exc),
        pack_traceback(exc.__traceback__),
        _notes(exc) + remarks,
        exc.__suppress_context__,
        places.get(id(exc.__cause__)),
        places.get(id(exc.__context__)),
        [places[id(one)] for one in _children(exc) if id(one) in places],
    )


def _summary(exc: BaseException) -> str:
    text = text_of(exc)
    return f"{type_name(type(exc))}: {text}" if text else type_name(type(exc))


def _core(exc: BaseException, pickling: Pickling) -> tuple[bytes, str, list[str]]:
    """The pickled exception proper, how to rebuild it, and remarks on what is missing."""
    problem: BaseException
    if has_own_reduce(type(exc)):
        try:
            core = dumps(exc, "by-value")
            back = loads(core)
            if type(back) is type(exc) and bool(back.args) == bool(exc.args):
                return core, "own", []  # else its own way loses what it was raised with
        except BaseException:
            pass  # the class says how, and it does not work: take it apart ourselves
    try:
        # The class goes by value if it must: it does not matter where an error was defined.
        head = dumps(type(exc), "by-value")
        args, state = take_apart(exc)
        state.pop("__notes__", None)
        if is_a(exc, BaseExceptionGroup):
            args = args[:1]  # the members are records of their own
        remarks: list[str] = []
        packed = _pack_all(list(args), "args", pickling, remarks)
        attributes = _pack_all(state, "", pickling, remarks)
        kind = "group" if is_a(exc, BaseExceptionGroup) else "plain"
        core = pickle.dumps((head, packed, attributes), 5)
        if kind == "plain":
            _rebuild(core, kind, [])
        return core, kind, remarks
    except BaseException as error:
        problem = error
    return pickle.dumps(_stand_in(exc, problem), 5), "stand-in", []


def _pack_all(values: Any, prefix: str, pickling: Pickling, remarks: list[str]) -> bytes:
    """Pickle a list or dict of values; those that cannot be sent are left out, and named."""
    try:
        blob = dumps(values, pickling)
        loads(blob)
        return blob
    except BaseException:
        pass
    kept = values.copy()
    named = is_a(values, dict)
    pairs: Any = list(values.items() if named else zip(range(len(values)), values, strict=True))
    for key, value in pairs:
        try:
            loads(dumps(value, pickling))
        except BaseException as error:
            where = f".{key}" if named else f".{prefix}[{key}]"
            what = f"error{where}, {a_type(class_of(value))}, cannot be sent between processes"
            said = "" if isinstance(error, Refused) else text_of(error)
            why = f" ({said})" if said else ""
            if named and key != "args":
                del kept[key]
                remarks.append(f"{what}{why}: it is missing from this copy.")
            else:
                kept[key] = short_repr(value) if key != "args" else tuple(map(short_repr, value))
                remarks.append(f"{what}{why}: this copy has its repr instead.")
    return dumps(kept, pickling)


def _stand_in(exc: BaseException, problem: BaseException) -> NotPicklable:
    """What arrives in place of an exception that cannot."""
    import traceback

    try:
        remote = "".join(traceback.format_exception(exc))
    except BaseException:
        remote = _summary(exc)
    why = f"{type(problem).__name__}: {text_of(problem)}"
    reason = f"It could not be pickled and rebuilt ({why})."
    return NotPicklable(
        f"the function raised {_summary(exc)}\n"
        f"which cannot be sent back as it is: {why}\n"
        f"Give {type(exc).__qualname__} a __reduce__ that works, or raise another exception from "
        f"it. The traceback in the worker was:\n\n{remote}",
        where="exception",
        path="error",
        culprit=type_name(type(exc)),
        reason=reason,
    )


def load_exception(blob: bytes) -> BaseException:
    """Rebuild what `dump_exception` pickled.

    Never raises: what cannot be rebuilt becomes a `NotPicklable` that tells about it.
    """
    records = [_Record(*record) for record in pickle.loads(blob)]
    made: dict[int, BaseException] = {}
    for place in range(len(records)):
        _make(place, records, made, ())
    for place, record in enumerate(records):
        _link(made[place], record, made)
    return made[0]


def _make(
    place: int, records: list[_Record], made: dict[int, BaseException], above: tuple[int, ...]
) -> BaseException:
    """Make one exception, the members of a group before the group."""
    if place not in made:
        record = records[place]
        above = (*above, place)
        inner = [child for child in record.children if child not in above]
        children = [_make(child, records, made, above) for child in inner]
        try:
            made[place] = _rebuild(record.core, record.kind, children)
        except BaseException as error:
            if strikes(error):
                raise
            made[place] = _lost(record, error)
    return made[place]


def _rebuild(core: bytes, kind: str, children: list[BaseException]) -> BaseException:
    if kind in ("own", "stand-in"):
        whole = loads(core)
        if not isinstance(whole, BaseException):
            raise TypeError(f"it was rebuilt as {a_type(class_of(whole))}")
        return whole
    head, packed, attributes = pickle.loads(core)
    cls, args, state = loads(head), loads(packed), loads(attributes)
    exc = make_exception(cls, [*args, children] if kind == "group" else args)
    put_back(exc, state)
    return exc


def _lost(record: _Record, error: BaseException) -> NotPicklable:
    lines = "".join(f'  File "{f[0]}", line {f[4]}, in {f[2]}\n' for f in record.frames)
    name = record.summary.partition(":")[0]
    why = f"{type(error).__name__}: {text_of(error)}"
    return NotPicklable(
        f"the function raised {record.summary}\n"
        f"which could be pickled in the worker but not rebuilt here: {why}\n"
        f"Make {name} importable here, or give it a __reduce__ that works in both "
        f"processes. Its traceback was (innermost last):\n{lines}".rstrip(),
        where="exception",
        path="error",
        culprit=name,
        reason=f"It could not be rebuilt here ({why}).",
    )


def _link(exc: BaseException, record: _Record, made: dict[int, BaseException]) -> None:
    put = partial(object.__setattr__, exc)
    put("__traceback__", unpack_traceback(record.frames))
    put("__cause__", None if record.cause is None else made[record.cause])
    put("__context__", None if record.context is None else made[record.context])
    put("__suppress_context__", record.suppress)
    for note in record.notes:
        add_note(exc, note)


def raisable(error: BaseException, who: str) -> BaseException:
    """The error, or one around it if it would end the loop in which it is raised (PEP 479)."""
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    wrapped = RuntimeError(f"{who} raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped


def own_copy(error: BaseException) -> BaseException:
    """A copy of an error, with its cause; the error itself, if it cannot be copied."""
    try:
        args, state = take_apart(error)
        copied = make_exception(type(error), args)
        put_back(copied, state)
    except BaseException as raised:
        if strikes(raised):
            raise
        return error
    notes: Any = copied.__dict__.get("__notes__")
    if is_a(notes, list):
        copied.__dict__["__notes__"] = notes.copy()
    object.__setattr__(copied, "__cause__", error.__cause__)
    return copied
