"""Whether two functions are the same: told by their code, not by where it stands."""

from __future__ import annotations

from binascii import crc32
from types import CodeType, FunctionType
from typing import Any

from procession.pickling.objects import is_a

__all__ = ["digest", "same_function"]

_ATOMS = (int, float, complex, str, bytes, bool, type(None))


def digest(code: CodeType) -> tuple[int, int]:
    """A digest of what code does, with the code nested in it; not of its place in a file."""
    told = repr(_told(code)).encode("utf-8", "surrogatepass")
    return len(told), crc32(told)  # no secret: hashlib takes 20 ms to load


def _told(code: CodeType) -> tuple[Any, ...]:
    return (
        code.co_name,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        code.co_code,
        getattr(code, "co_exceptiontable", b""),
        [_constant(value) for value in code.co_consts],
    )


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _told(value)
    if is_a(value, frozenset):
        return sorted(map(repr, value))  # in whatever order this process has them
    if is_a(value, tuple):
        return [_constant(part) for part in value]
    return type(value).__name__, repr(value)


def same_function(one: Any, other: Any) -> bool:
    """Whether two functions of one module do the same: the same code, globals and defaults.

    After a reload there are two of each, and a tool may have put the new code into the old ones.
    """
    if type(one) is not FunctionType or type(other) is not FunctionType:
        return False
    return (
        one.__globals__ is other.__globals__
        and one.__code__ == other.__code__
        and not one.__closure__
        and not other.__closure__
        and _same(one.__defaults__ or (), other.__defaults__ or ())
        and _same(tuple(_items(one)), tuple(_items(other)))
    )


def _items(function: FunctionType) -> list[Any]:
    return [part for item in (function.__kwdefaults__ or {}).items() for part in item]


def _same(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(some) == len(others) and all(map(_equal, some, others))


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    return type(one) is type(other) and isinstance(one, _ATOMS) and bool(one == other)
