"""References to functions by name, never by name alone.

A reference is (module, qualified name, steps): the name must lead to the object, or to something
that wraps it, and `steps` says how often to unwrap. The sender checks that the walk ends at the
very same object; the receiver walks the same way.

Whether a name will do depends on who pickles. The same decorated function goes to workers of other
libraries as well. `pickle` (so `multiprocessing.Pool` and `concurrent.futures`) writes functions by
name, and its workers have a ``__main__`` to look in. cloudpickle (so joblib, loky, Dask, Ray) and
dill write those of ``__main__`` by value, as their workers have none. All of them ask an object for
its ``__reduce_ex__`` in the same way, and only the calling frame tells them apart.
"""

from __future__ import annotations

import sys
from types import FrameType, FunctionType

from procession.hints import Any, Literal
from procession.pickling.importable import find, importable
from procession.pickling.objects import ATOMS, class_of, is_a, is_one_of
from procession.pickling.refusals import Refusal

Reference = tuple[str, str, int]

Named = dict[int, tuple[str, str]]
"""Objects that go by name: their places, (module, attribute), by the objects' ids."""

_MOST_STEPS = 16


def is_decorated(obj: Any) -> bool:
    """Whether `obj` is a decorated function of Procession's; needs no import of wrapt to know."""
    return bool(getattr(class_of(obj), "__procession_function__", False))


def reference_to(target: Any, named: Naming = "importable") -> Reference | None:
    """A reference that leads a worker to `target`, or `None`.

    Args:
        target: A function or class, decorated or not.
        named: What of which modules may go by name.
    """
    module = getattr(target, "__module__", None)
    name = getattr(target, "__qualname__", None)
    if not isinstance(name, str) or not isinstance(module, str):
        return None
    if not may_name(named, module):
        return None
    try:
        found = _walk(module, name)
    except (AttributeError, KeyError):
        return None
    for steps in range(_MOST_STEPS):
        if found is target or _same_function(found, target):
            return module, name, steps
        inner = _unwrap(found)
        if inner is None:
            return None
        found = inner
    return None


def may_name(named: Naming, module: str) -> bool:
    """Whether what is in a module may go by its name."""
    if named == "loaded":
        return module in sys.modules
    return named == "importable" and importable(module)


def resolve(module: str, qualname: str, steps: int = 0) -> Any:
    """Import `module`, walk to the name, unwrap `steps` times.

    Raises:
        ImportError, AttributeError: The worker's module is not the caller's.
    """
    __import__(module)
    found = _walk(module, qualname)
    for _ in range(steps):
        found = _unwrap(found)
        if found is None:
            raise AttributeError(f"{module}.{qualname} is decorated otherwise in this process")
    return found


def _walk(module: str, qualname: str) -> Any:
    """The object under a name, as it stands in its class: descriptors are not bound."""
    found: Any = sys.modules[module]
    for part in qualname.split("."):
        found = _raw_attribute(found, part) if isinstance(found, type) else getattr(found, part)
    return found


def mangled(cls: type, name: str) -> str:
    """The name under which a class holds what its body calls `name`."""
    if name.startswith("__") and not name.endswith("__"):
        return f"_{cls.__name__.lstrip('_')}{name}"  # as the compiler does
    return name


def _raw_attribute(cls: type, name: str) -> Any:
    name = mangled(cls, name)
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return getattr(cls, name)


def _unwrap(found: Any) -> Any:
    if is_a(found, classmethod, staticmethod) or hasattr(found, "__func__"):
        return found.__func__
    try:
        return found.__wrapped__
    except AttributeError:
        return None


def why_not_by_value(obj: Any) -> Refusal | None:
    """Why a function or class does not go by value under ``"strict"``; `None` if it does."""
    kind = "class" if isinstance(obj, type) else "function"
    name = obj.__qualname__
    if getattr(obj, "__name__", "") == "<lambda>":
        return Refusal("a lambda", _NAMELESS, _MEND % "def")
    if "<locals>" in name:
        name = name.rpartition("<locals>.")[2]
        what = f"the {kind} {name}, which is defined inside a function"
        return Refusal(what, _NAMELESS, _MEND % ("class" if kind == "class" else "def"))
    if importable(obj.__module__):
        full = f"{obj.__module__}.{name}"
        now = find(obj.__module__, name)
        if now is None:
            return Refusal(
                f"the {kind} {name}, which {obj.__module__} does not hold under that name",
                f"A worker would follow the name {full}, and it leads nowhere.",
                f'Keep it in {obj.__module__} under its own name, or pass pickling="by-value".',
            )
        if _holds(now, obj):
            return _hidden(now, name, full)
        return Refusal(
            f"the {kind} {name}, which is not what {full} is now",
            f"A worker would follow the name {full} and find another object: it was defined anew, "
            "replaced, or its module was reloaded.",
            f'Use what {full} is now (import it again), or pass pickling="by-value".',
        )
    return None


def _holds(wrapper: Any, function: Any) -> bool:
    """Whether a function or object was made around this function, decorated or not."""
    cells = getattr(wrapper, "__closure__", None) or ()
    held: list[Any] = []
    for cell in cells:
        try:
            held.append(cell.cell_contents)
        except ValueError:
            pass  # empty as yet
    held += getattr(wrapper, "__dict__", {}).values()
    for each in held:
        for _ in range(_MOST_STEPS):
            if each is function:
                return True
            each = _unwrap(each) if is_decorated(each) or is_a(each, *_METHODS) else None
    return False


def _hidden(wrapper: Any, name: str, full: str) -> Refusal:
    """A decorator above Procession's that does not say what it wraps."""
    made_by = getattr(wrapper, "__qualname__", "").partition(".<locals>")[0]
    decorator = made_by or class_of(wrapper).__qualname__
    return Refusal(
        f"the function {name}, which the decorator {decorator} hides",
        f"A worker would follow the name {full} and find what {decorator} returned, and that does "
        "not say which function it wraps.",
        f"Put functools.wraps (or update_wrapper) on what {decorator} returns, or write "
        f'Procession\'s decorator above it, or pass pickling="by-value".',
    )


_METHODS = (classmethod, staticmethod)
_NAMELESS = "A worker finds code by importing its module and following its name, and this has none."
_MEND = 'Write it as a module-level %s, or pass pickling="by-value".'


# -- two functions that do the same ------------------------------------------------------------


def _same_function(one: Any, other: Any) -> bool:
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
        and _same_values(one.__defaults__ or (), other.__defaults__ or ())
        and _same_values(tuple(_items(one)), tuple(_items(other)))
    )


def _items(function: FunctionType) -> list[Any]:
    return [part for item in (function.__kwdefaults__ or {}).items() for part in item]


def _same_values(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(some) == len(others) and all(map(_equal, some, others))


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    return type(one) is type(other) and is_one_of(class_of(one), ATOMS) and bool(one == other)


# -- who pickles -------------------------------------------------------------------------------

Naming = Literal["importable", "loaded", "nothing"]
"""Which decorated functions go by name: those of modules that workers can import, those of any
module that is loaded (``__main__`` too), or none."""

_KNOW_IMPORTABLE = ("procession.", "dill.")


def asks_by_class(frame: FrameType) -> bool:
    """Whether this is cloudpickle's code, in one of its many copies.

    It takes apart all that says that it is a function, and would send what is below a decorator.
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
    if asks_by_class(asking):
        return "loaded" if _names(asking.f_globals, module) else "nothing"
    return (
        "importable"
        if str(asking.f_globals.get("__name__")).startswith(_KNOW_IMPORTABLE)
        else "loaded"
    )


def _names(space: dict[str, Any], module: str) -> bool:
    """Whether this copy of cloudpickle leaves what the module holds to its name."""
    by_value: Any = space.get("_PICKLE_BY_VALUE_MODULES", ())
    return module != "__main__" and not any(
        module == each or module.startswith(f"{each}.") for each in by_value
    )
