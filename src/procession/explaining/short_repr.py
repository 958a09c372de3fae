"""Short texts for any object, for notes and messages: never raises, never long."""

from __future__ import annotations

import reprlib
from typing import Any

from procession.pickling.kinds import class_of

__all__ = ["brief", "type_name"]

_LONGEST = 80


class _Brief(reprlib.Repr):
    """`reprlib`, with bytes cut before they are written out, and arrays told by their shape."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = 50

    def repr_bytes(self, x: bytes, level: int) -> str:
        """Show the beginning of long bytes."""
        return repr(x) if len(x) <= 24 else f"{x[:16]!r}... ({len(x)} bytes)"

    def repr_bytearray(self, x: bytearray, level: int) -> str:
        """Show the beginning of a long bytearray."""
        return repr(x) if len(x) <= 24 else f"{x[:16]!r}... ({len(x)} bytes)"

    def repr_instance(self, x: Any, level: int) -> str:
        """Show arrays and data frames by their shape, and others as `reprlib` does."""
        shape = getattr(x, "shape", None)
        if type(shape) is tuple:
            return f"<{type(x).__name__} of shape {shape}>"
        return super().repr_instance(x, level)


_brief = _Brief()


def brief(obj: Any) -> str:
    """One line of at most 80 characters that shows `obj`, whatever its ``repr`` does."""
    try:
        text = " ".join(_brief.repr(obj).split())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text = f"<{type_name(class_of(obj))}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def type_name(cls: type) -> str:
    """``module.Name`` of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"
