"""Who is pickling: whether functions of ``__main__`` go by name now, or by value.

The same decorated function goes to workers of other libraries as well. `pickle` (so
`multiprocessing.Pool` and `concurrent.futures`) writes functions by name, and its workers have a
``__main__`` to look in; cloudpickle (so joblib, loky, Dask, Ray) and dill write those of
``__main__`` by value, as their workers have none. An object is asked for its ``__reduce_ex__`` by
all of them in the same way, and only the calling frame tells them apart.
"""

from __future__ import annotations

from types import FrameType
from typing import Any, Literal

__all__ = ["Naming", "looks_at_functions", "naming"]

Naming = Literal["importable", "loaded", "nothing"]
"""Which decorated functions go by name: those of modules that our workers can import, those of any
module that is loaded (``__main__`` too), or none."""

_OURS = ("procession.", "dill.")


def looks_at_functions(frame: FrameType) -> bool:
    """Whether this is cloudpickle's code, in one of its many copies.

    It takes whatever says that it is a function apart, and would send what is below a decorator.
    """
    name = frame.f_globals.get("__name__")
    return type(name) is str and name.rpartition(".")[2].startswith("cloudpickle")


def naming(frame: FrameType, module: str) -> Naming:
    """How what pickles now names the functions of a module.

    Args:
        frame: Who called ``__reduce_ex__``.
        module: The function's module.
    """
    asking: FrameType | None = frame
    while asking is not None and asking.f_globals.get("__name__") == "pickle":
        asking = asking.f_back  # a pickler that is written in Python, or a subclass of it
    if asking is None:
        return "loaded"
    if looks_at_functions(asking):
        return "loaded" if _names(asking.f_globals, module) else "nothing"
    return "importable" if str(asking.f_globals.get("__name__")).startswith(_OURS) else "loaded"


def _names(space: dict[str, Any], module: str) -> bool:
    """Whether this copy of cloudpickle leaves what the module holds to its name."""
    by_value: Any = space.get("_PICKLE_BY_VALUE_MODULES", ())
    return module != "__main__" and not any(
        module == each or module.startswith(f"{each}.") for each in by_value
    )
