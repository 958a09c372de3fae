"""Every private name of cloudpickle that Procession uses.

A release may change any of them. `tests/pickling/test_cloudpickle_names.py` has a test of each
one's meaning, and `pyproject.toml` names the releases that are known.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, MutableMapping

from cloudpickle import cloudpickle

from procession.hints import Any

_known: Any = cloudpickle
_Reducers = Callable[[type], Callable[[Any], Any] | None]

Pickler = cloudpickle.Pickler
"""The pickler to derive from."""

BUILTIN_TYPES: Iterable[type] = _known._BUILTIN_TYPE_NAMES
"""The types that go by a name of cloudpickle's."""

CLASSES_BY_ID: MutableMapping[str, type] = _known._DYNAMIC_CLASS_TRACKER_BY_ID
"""The classes that came by value, by the id that travels with them."""

reduce_code: Callable[[types.CodeType], tuple[Any, ...]] = _known._code_reduce
reduce_class: Callable[[type], Any] = _known._class_reduce
set_function_state: Callable[[Any, Any], Any] = _known._function_setstate
set_class_state: Callable[[type, Any], Any] = _known._class_setstate

class_layout: Callable[[type], tuple[Any, ...]] = _known._class_getnewargs
"""``(metaclass, name, bases, namespace, id, None)`` of a class's skeleton."""

class_contents: Callable[[type], dict[str, Any]] = _known._extract_class_dict
"""What a class has of its own, without what its bases give."""

class_by_id: Callable[[str, type], type] = _known._lookup_class_or_track
"""The class that has an id, or this one, which has it from now on."""

code_globals: Callable[[types.CodeType], Iterable[str]] = _known._extract_code_globals
"""The names of globals in code, and in the functions nested in it."""

registered_reducer: Callable[[type], Callable[[Any], Any] | None] = (
    _known.Pickler._dispatch_table.get
)
"""How cloudpickle itself describes objects of a type; `None` if it does not."""


def reduce_function(pickler: Any, function: types.FunctionType) -> tuple[Any, ...]:
    """Describe a function by value; the sixth part is what sets its state."""
    described: tuple[Any, ...] = pickler._dynamic_function_reduce(function)
    return described
