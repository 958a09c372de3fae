"""Log records and warnings on their way home: what cannot cross costs only what it is part of."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, cast

__all__ = ["Warned", "pack", "unpack"]

Fields = dict[str, Any]
Warned = tuple[Any, Any, str, int]
"""Message, category, file name and line."""

_PLAIN = frozenset({str, int, float, bool, type(None)})


def pack(records: list[Fields], warned: list[Warned]) -> bytes:
    """Pickle what one item has logged and warned.

    A record that holds more than plain values is a pickle of its own, beside its fields as text: so
    it can fail alone, here or there. So is each warning.
    """
    return pickle.dumps(([_record(each) for each in records], [_warning(w) for w in warned]), 5)


def unpack(extras: bytes) -> tuple[list[Fields], list[Warned]]:
    """What `pack` was given, as far as it can be had in this process."""
    from procession.pickling.pickler import loads

    records, warned = pickle.loads(extras)
    return [_rebuilt(each, loads) for each in records], [_unpacked(each) for each in warned]


def _rebuilt(record: Any, loads: Callable[[bytes], Any]) -> Fields:
    if isinstance(record, dict):
        return cast("Fields", record)
    odd: tuple[Fields, dict[str, bytes]] = record
    fields, packed = odd
    for name, each in packed.items():
        try:
            fields[name] = loads(each)
        except Exception:
            continue  # its text stays
    return fields


def _record(fields: Fields) -> Any:
    odd = {name: value for name, value in fields.items() if type(value) not in _PLAIN}
    if not odd:
        return fields
    packed = {name: blob for name, value in odd.items() if (blob := _packed(value)) is not None}
    return {**fields, **{name: text(value) for name, value in odd.items()}}, packed


def _packed(value: Any) -> bytes | None:
    from procession.pickling.pickler import dumps

    try:
        return dumps(value, "by-value")
    except Exception:
        return None


def text(value: Any) -> str:
    """A value as text, whatever its own code does."""
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _warning(warned: Warned) -> Any:
    message, category, filename, line = warned
    return _packed((message, category)), category.__name__, _said(message), filename, line


def _said(message: Any) -> str:
    try:
        return str(message)
    except Exception:
        return text(message)


def _unpacked(each: Any) -> Warned:
    from procession.pickling.pickler import loads

    packed, name, said, filename, line = each
    try:
        message, category = loads(packed)
    except Exception:
        message, category = UserWarning(f"{name}: {said}"), UserWarning
    return message, category, filename, line
