"""Paths from an object to what it holds, in Python's own syntax."""

from __future__ import annotations

import math
import operator
import types
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from keyword import iskeyword
from typing import Any

from procession.explaining.search import Node
from procession.pickling.objects import bases_of, class_of, is_a, is_one_of

_PLAIN = frozenset({tuple, list, dict, set, frozenset})
_LONGEST_KEY = 200
_LONGEST_TRAIL, _SHORT_TRAIL = 100, 12


def path_of(trail: list[Node]) -> tuple[str, str]:
    """A trail of nodes as a Python expression, and a remark for what it does not say."""
    steps = list(pairwise(trail))
    hidden = len(steps) - _SHORT_TRAIL if len(steps) > _LONGEST_TRAIL else 0
    if hidden:
        steps = steps[:_SHORT_TRAIL]
    before, after = "", ""
    for holder, node in steps:
        prefix, suffix = _label(holder.obj, node.kind, node.key, node.obj)
        before, after = prefix + before, after + suffix
    path = f"{before}{trail[0].root}{after}"
    if hidden:
        return f"{path}…", f" ({hidden} levels further down)"
    last = trail[-1]
    if last.kind == "cell":
        return path, f" (the variable {last.key[1]!r} of the enclosing function)"
    if last.kind == "default" and last.parent is not None:
        code = last.parent.obj.__code__
        first = code.co_argcount - len(last.parent.obj.__defaults__)
        return path, f" (the default of {code.co_varnames[first + last.key]!r})"
    return path, ""


def _label(obj: Any, kind: str, key: Any, part: Any) -> tuple[str, str]:
    """What stands before and after an object's own expression to name one of its parts."""
    if kind == "index":
        return "", f"[{key}]"
    if kind == "attribute":
        return "", _attribute(key)
    if kind == "suffix":
        return "", key
    if kind == "cell":
        return "", f".__closure__[{key[0]}].cell_contents"
    if kind == "default":
        return "", f".__defaults__[{key}]"
    if kind == "member":
        return "list(", f")[{key}]"
    if kind == "array":
        return "", f"[{', '.join(_places(key, obj.shape))}]"
    if kind in ("added", "pair"):
        return "list(", f"{_call(obj)}[{3 if kind == 'added' else 4}])[{key}]"
    if kind == "key":
        text = _key(key[1])
        return ("", f"[{text}]") if text else ("list(", f".values())[{key[0]}]")
    if kind == "class":
        return "type(", ")"
    if kind == "state":
        return "", _state_label(obj, key, part)
    if kind == "state item":
        return "", _attribute_holding(obj, part) or f"{_state_of(obj)}[{key}]"
    if kind == "whole state":
        return "", _state_of(obj)
    return _reduced_label(obj, key, part)


def _places(flat: int, shape: tuple[int, ...]) -> Iterator[str]:
    for at, length in enumerate(shape):
        below = math.prod(shape[at + 1 :])
        yield str(flat // below % length)


def _attribute(name: Any) -> str:
    plain = isinstance(name, str) and name.isidentifier() and not iskeyword(name)
    return f".{name}" if plain else f".__dict__[{name!r}]"


def _key(key: Any) -> str:
    """How a key is written, or nothing if it cannot be written on one line."""
    if isinstance(key, Enum):
        return str(key)
    if not _is_written(key):
        return ""
    text = repr(key)
    return text if len(text) <= _LONGEST_KEY and "\n" not in text else ""


def _is_written(key: Any) -> bool:
    """Whether a key's ``repr`` is an expression that finds it again."""
    cls = class_of(key)
    if cls is tuple:
        return all(map(_is_written, key))
    if cls is float:
        return math.isfinite(key)
    return cls in (str, bytes, int, bool, type(None))


def _state_label(obj: Any, key: Any, part: Any) -> str:
    if isinstance(key, str) and _holds(obj, key, part):
        return _attribute(key)
    return f"{_state_of(obj)}[{key!r}]"


def _holds(obj: Any, name: str, part: Any) -> bool:
    try:
        return object.__getattribute__(obj, name) is part
    except Exception:
        return False


def _reduced_label(obj: Any, key: tuple[int, ...], part: Any) -> tuple[str, str]:
    """A constructor's argument: an attribute of the object if one holds it."""
    if _same_contents(obj, part):
        return "", ""
    if is_a(obj, BaseExceptionGroup) and key == (1, 1):
        return "", ".exceptions"
    if is_a(obj, BaseException) and key[0] == 1:
        return "", ".args" if type(part) is tuple and key[1] == 1 else f".args[{key[1]}]"
    fields: tuple[str, ...] = getattr(class_of(obj), "_fields", ())
    if is_a(obj, tuple) and key[0] == 1:
        index = key[1] - 1 if len(obj) == key[1] else key[1]
        for i, item in enumerate(obj):
            if item is part:
                return ("", f".{fields[i]}") if i < len(fields) else ("", f"[{i}]")
        return "", f"[{index}]"
    attribute = _attribute_holding(obj, part)
    if attribute:
        return "", attribute
    return "", _call(obj) + "".join(f"[{place}]" for place in key)


def _same_contents(obj: Any, part: Any) -> bool:
    """Whether `part` is the plain container that an instance of a subclass is made from."""
    if not is_one_of(class_of(part), _PLAIN) or not is_a(obj, class_of(part)):
        return False
    iterate: Any = class_of(part).__iter__  # not what the subclass makes of it
    own: list[Any] = list(iterate(obj))
    return len(own) == len(part) and all(map(operator.is_, own, part))


def _call(obj: Any) -> str:
    """The call that pickle makes."""
    theirs = any("__reduce__" in own for _, own in bases_of(class_of(obj))[:-1])
    return ".__reduce__()" if theirs else ".__reduce_ex__(5)"


def _state_of(obj: Any) -> str:
    """The expression for the state that an object is given again."""
    bases = bases_of(class_of(obj))[:-1]
    theirs = any("__reduce__" in own or "__reduce_ex__" in own for _, own in bases)
    return f"{_call(obj)}[2]" if theirs else ".__getstate__()"


def _attribute_holding(obj: Any, part: Any) -> str:
    for name in [*getattr(obj, "__dict__", ()), *_descriptors(class_of(obj))]:
        if isinstance(name, str) and _holds(obj, name, part):
            return _attribute(name)
    return ""


def _descriptors(cls: type) -> list[str]:
    kinds = (types.MemberDescriptorType, types.GetSetDescriptorType, property)
    return [n for _, own in bases_of(cls)[:-1] for n, v in own.items() if is_a(v, *kinds)]
