"""Import hooks of the program, which workers do not have: typeguard's, beartype's, its own finder.

A loader that changes code as it loads it (checks of types, for example) makes other functions than
a worker gets, which imports the module in the usual way. So the loader's type travels beside a
function's name, and is told about when the two sides differ.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["Loader", "hint", "loader_of"]

Loader = tuple[str, bool]
"""The type of a module's loader, empty for Python's own; and whether it changes the code."""

_USUAL = ("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", "_pytest")
"""Python's own; and pytest's, which rewrites nothing but ``assert``."""

_CHANGING = ("source_to_code", "get_code")


def loader_of(spec: Any) -> Loader:
    """What loaded a module."""
    loader = getattr(spec, "loader", None)
    cls: Any = loader if isinstance(loader, type) else type(loader)
    if loader is None or cls.__module__.partition(".")[0] in _USUAL:
        return "", False
    changes = any(
        name in base.__dict__
        for base in cls.__mro__
        for name in _CHANGING
        if base.__module__.partition(".")[0] not in _USUAL
    )
    return f"{cls.__module__}.{cls.__qualname__}", changes


def rewrites(spec: Any) -> bool:
    """Whether code is not compiled from the source as it stands, by a loader that says no more."""
    return type(getattr(spec, "loader", None)).__module__.partition(".")[0] == "_pytest"


def hint(module: str, theirs: Loader, ours: Loader = ("", False)) -> str:
    """What to do about a loader that a worker does not have; nothing if there is none."""
    if not theirs[0] or theirs[0] == ours[0]:
        return ""
    return (
        f"The program loads {module} through an import hook of its own ({theirs[0]}), which this "
        "worker does not have: install the hook in a function, and pass it as initializer=."
    )


def spec_of(module: str) -> Any:
    """The spec of a module that is loaded here."""
    return getattr(sys.modules.get(module), "__spec__", None)
