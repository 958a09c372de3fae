"""What a function needs on the far side: modules, cloudpickle, or hardly anything.

A worker that was given items before it has imported their modules keeps them waiting: those of
scikit-learn take more than a second. So workers that start import them before they are ready. And a
pool is started only for items that last longer than that.

Whether a function can cross is always looked at, so that it never depends on where its items run.
Most functions of ``__main__`` use nothing but builtins, modules and each other: they can be sent
for sure. Many use nothing but builtins, constants and modules. Those are sent as their code and a
few names, and are made again as cloudpickle would make them. So neither the program nor its workers
load cloudpickle, which takes 25 ms.
"""

from __future__ import annotations

import builtins
import marshal
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

from procession.hints import Any
from procession.pickling.importable import importable
from procession.pickling.objects import ATOMS, all_are, class_of, is_a, is_one_of
from procession.pickling.references import reference_to, why_not_by_value
from procession.system import cpython

_OF_MODULE = ("__name__", "__package__", "__path__", "__file__")
"""What a function sees of its module, as cloudpickle has it."""


def surely_crosses(function: Any, decorated: Any) -> bool:
    """Whether it is certain that the function can be sent; if not, only pickling it tells.

    Args:
        function: The undecorated function.
        decorated: The decorated object it belongs to, or `None`.
    """
    if type(function) is not FunctionType:
        return False
    if decorated is not None and decorated.__wrapped__ is function and reference_to(decorated):
        return True
    return reference_to(function) is not None or _plain(function, decorated, set())


def _plain(function: FunctionType, decorated: Any, seen: set[int]) -> bool:
    """Whether a function goes by value, and all that it uses goes for sure."""
    seen.add(id(function))
    if why_not_by_value(function) is not None or not _stands_alone(function):
        return False
    space = function.__globals__
    return all(
        name not in space or _sure(space[name], decorated, seen)
        for name in names_in(function.__code__)
    )


def _stands_alone(function: FunctionType) -> bool:
    """Whether all that a function has is plain, but for the globals that it uses."""
    if function.__closure__ or vars(function) or getattr(function, "__type_params__", None):
        return False
    own = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    annotations = function.__annotations__.values()
    return all_are(own, ATOMS) and all(
        type(each) is str or _is_builtin_class(each) for each in annotations
    )


def names_in(code: CodeType) -> set[str]:
    """All names that code, or code in it, may look up."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= names_in(constant)
    return found


def _sure(value: Any, decorated: Any, seen: set[int]) -> bool:
    """Whether a global that a function uses goes for sure."""
    kind = class_of(value)
    if is_one_of(kind, ATOMS) or value is decorated or id(value) in seen:
        return True
    if kind is ModuleType:
        return importable(value.__name__)
    if kind is BuiltinFunctionType:
        return type(value.__self__) is ModuleType and importable(value.__self__.__name__)
    if kind is FunctionType:
        return reference_to(value) is not None or _plain(value, decorated, seen)
    return _is_builtin_class(value)


def _is_builtin_class(value: Any) -> bool:
    return type(value) is type and value.__module__ == "builtins"


# -- sending them ----------------------------------------------------------------------------------


class PlainFunction:
    """A function that was taken apart; unpickling it gives the function.

    Args:
        function: The function.
        parts: What `_make` is given.
    """

    def __init__(self, function: FunctionType, parts: tuple[Any, ...]) -> None:
        self.function = function
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, self._parts


def plain_function(function: Any) -> PlainFunction | None:
    """Take a function apart that uses nothing but builtins, constants and modules; else `None`.

    Packages are left to cloudpickle: it sends those of their modules along that the code uses.
    """
    if type(function) is not FunctionType or not _stands_alone(function):
        return None
    theirs: Any = getattr(function, "__builtins__", None)
    if theirs is not vars(builtins):  # it was given others
        return None
    space = function.__globals__
    values = {name: space[name] for name in _OF_MODULE if name in space}
    modules: dict[str, str] = {}
    for name in names_in(function.__code__):
        value: Any = space.get(name)
        if class_of(value) is ModuleType:
            if not _is_single(value):
                return None
            modules[name] = value.__name__
        elif name in space:
            values[name] = value
    if not all_are(values.values(), ATOMS):
        return None
    try:
        code = marshal.dumps(function.__code__)
    except ValueError:
        return None  # a tool has put something of its own among its constants
    kept = function.__defaults__, function.__kwdefaults__, function.__annotations__
    names = function.__name__, function.__qualname__, function.__module__, function.__doc__
    return PlainFunction(function, (code, names, kept, values, modules))


def needs_cloudpickle(function: Any, decorated: Any) -> bool:
    """Whether cloudpickle takes part when the function is sent, as far as is known."""
    named = reference_to(function) or (decorated is not None and reference_to(decorated))
    return not named and plain_function(function) is None


def _is_single(module: Any) -> bool:
    name = module.__name__
    found = sys.modules.get(name)
    return found is module and importable(name) and not hasattr(module, "__path__")


def _make(
    code: bytes,
    names: tuple[str, str, str, str | None],
    kept: tuple[Any, Any, dict[str, Any]],
    values: dict[str, Any],
    modules: dict[str, str],
) -> FunctionType:
    space: dict[str, Any] = {**values, "__builtins__": vars(builtins)}
    for name, module in modules.items():
        __import__(module)
        space[name] = sys.modules[module]
    function = FunctionType(marshal.loads(code), space, names[0], kept[0])
    _, function.__qualname__, function.__module__, function.__doc__ = names
    _, function.__kwdefaults__, function.__annotations__ = kept
    dynamic = cpython.loaded("procession.pickling.dynamic_code")
    if dynamic is not None:  # else no initializer has come by value, which may have set globals
        dynamic.have_arrived(space)
    return function


# -- modules --------------------------------------------------------------------------------------

_OURS = ("procession", "wrapt")


def needed_modules(function: Any) -> tuple[str, ...]:
    """The modules that a function names: its own, or if it goes by value those of its globals."""
    if type(function) is not FunctionType:
        return ()
    own = function.__module__
    if importable(own):
        return (own,)
    space = function.__globals__
    found = {_module_of(space.get(name)) for name in names_in(function.__code__)}
    return tuple(sorted(name for name in found if name and importable(name)))


def _module_of(value: Any) -> str:
    kind = class_of(value)
    try:
        if kind is ModuleType:
            name = value.__name__
        elif kind in (FunctionType, BuiltinFunctionType) or is_a(value, type):
            name = value.__module__
        else:
            return ""
    except Exception:
        return ""  # of a metaclass, or of a module that makes its attributes
    return name if type(name) is str else ""


_counted = (0, 0)


def modules_to_import(function: Any) -> int:
    """How many modules a worker may import for a function: none, if it needs only Python's own.

    Which modules belong to which is not known without importing them. So it is all that the program
    has loaded, besides Python's.
    """
    if all(_is_usual(name) for name in needed_modules(function)):
        return 0
    global _counted
    loaded = len(sys.modules)
    if _counted[0] != loaded:
        _counted = loaded, sum(not _is_usual(name) for name in list(sys.modules))
    return _counted[1]


def _is_usual(name: str) -> bool:
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in _OURS or top == "__main__"
