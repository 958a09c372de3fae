"""Objects that a worker has, too: standard streams, and what an importable module holds.

A standard stream that code uses goes by name (as an argument it is refused). An object that a
function uses, and that an importable module holds (``from library import client``), goes by value
if it can: so it arrives with what the program has changed in it. If it cannot, it goes by the
module's name for it, as the function would if it stood in a module. A bare lock, socket or file is
refused all the same: whoever uses one means the one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from procession.pickling.importable import importable
from procession.pickling.library_handles import is_handle
from procession.pickling.objects import class_of

__all__ = ["Named", "attribute_of", "named_instead", "standard_stream", "stream_name"]

Named = dict[int, tuple[str, str]]
"""The places of objects, (module, attribute), by the objects' ids."""

_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
_CODE = (type, FunctionType, BuiltinFunctionType, ModuleType)


def stream_name(obj: Any) -> str | None:
    """The name in `sys` of a standard stream; `None` for anything else."""
    if obj is None:
        return None
    return next((name for name in _STREAMS if getattr(sys, name, None) is obj), None)


def standard_stream(name: str) -> Any:
    """The stream of that name in this process."""
    return getattr(sys, name)


def attribute_of(module: str, name: str) -> Any:
    """What a module holds under a name."""
    __import__(module)
    return getattr(sys.modules[module], name)


def named_instead(roots: Iterable[tuple[str, Any]], strict: bool) -> Named:
    """What may go by name so that the rest of `roots` can be pickled.

    Args:
        roots: Pairs of an expression and its value, as for `Search.run`.
        strict: Whether they were pickled strictly.

    Returns:
        The objects; none if something else stops it as well.
    """
    from procession.explaining.search import Search
    from procession.pickling.refusals import refusal_of

    given = list(roots)
    search = Search(strict)
    search.code.is_all = True
    search.code.accept(obj for _, obj in given)
    search.run(given)
    places = _places() if search.findings else {}
    named: Named = {}
    for finding in search.findings:
        for node in finding.node.trail()[1:]:
            place = places.get(id(node.obj))
            cls = class_of(node.obj)
            if place is not None and (refusal_of(cls) is None or is_handle(cls)):
                named[id(node.obj)] = place
                break
        else:
            return {}
    return named


def _places() -> Named:
    """Where importable modules hold objects that are no code, each in its own library if it can."""
    places: Named = {}
    best: Named = {}
    loaded: list[tuple[str, Any]] = list(sys.modules.items())  # not all of them are modules
    for name, module in loaded:
        if not isinstance(module, ModuleType) or not importable(name):
            continue
        for attribute, value in list(vars(module).items()):
            cls = class_of(value)
            if cls.__module__ == "builtins" or issubclass(cls, _CODE):
                continue
            own = cls.__module__.partition(".")[0] == name.partition(".")[0]
            (best if own else places).setdefault(id(value), (name, attribute))
    return places | best
