"""What only the operating system, or CPython's private side, knows; and which Procession this is.

`NamedTuple` is here, as this module is loaded with every other one of the package. It is
`typing.NamedTuple`, made in a quarter of the time. Every worker that starts makes a dozen classes
of it, and so does a program before its first call. `typing.NamedTuple` takes 0.14 ms for each
(Python 3.11; 0.31 ms on 3.13), most of it for annotations that no code reads at run time.
`collections.namedtuple` takes 0.07 ms.
"""

from __future__ import annotations

import os

from procession.hints import TYPE_CHECKING, Any

__all__ = ["FOLDER", "NamedTuple", "__version__"]

__version__ = "0.1.0"

FOLDER: str = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""Where Procession is: how its own code is told from the program's."""

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from collections import namedtuple

    class _Maker(type):
        def __new__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, space)
            fields = tuple(space.get("__annotations__", ()))
            defaults = [space[field] for field in fields if field in space]
            made = namedtuple(name, fields, defaults=defaults, module=space["__module__"])
            for key, value in space.items():
                if key not in fields and key != "__module__":
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """A tuple with named fields, which its subclass's annotations name in their order."""
