"""How objects of some types are taken apart, where pickle's own way fails or tells too little.

Exceptions: a class may ask for any arguments, while ``BaseException`` remembers only ``args``. So
calling the class with its ``args`` fails for half of them, or gives another text. What is written
in C is made by the C constructor; the rest is put back attribute by attribute.

Context variables travel by name: by the module that holds them, and their name in it. A variable is
its identity, so a copy would be another variable. In a module that a worker cannot import the same
name means the same variable for as long as the worker lives.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from contextvars import Context, ContextVar
from struct import Struct
from types import MethodType, ModuleType

from procession.hints import Any
from procession.pickling.importable import MAIN, find, importable, resolves
from procession.pickling.objects import as_usual, class_of, is_a
from procession.pickling.refusals import Refusal, Refused
from procession.system.cpython import manager_call

Reduce = Callable[[Any], Any]

# -- by name -----------------------------------------------------------------------------------


def _reduce_module(module: ModuleType) -> Any:
    name = module.__name__
    if sys.modules.get(name) is not module or not importable(name):
        raise Refused(
            Refusal(
                f"the module {name}",
                "A worker cannot import this module by its name.",
                "Import what you need of it inside the function{or_leave_out}.",
            )
        )
    return import_module, (name,)


def import_module(name: str) -> Any:
    """Import and return a module (not its topmost package, as ``__import__`` would)."""
    __import__(name)
    return sys.modules[name]


def named_attribute(module: str, name: str) -> Any:
    """What a module, imported if need be, has under a name."""
    return getattr(import_module(module), name)


_GLOBAL_GENERATORS = (("random", "_inst"), ("numpy.random.mtrand", "_rand"))


def _reduce_generator(generator: Any) -> Any:
    """A random generator: a module's own by name, as ``random.random`` is a method of one.

    A copy of it would draw the same numbers in each item, seeded or not.
    """
    for module, name in _GLOBAL_GENERATORS:
        if getattr(sys.modules.get(module), name, None) is generator:
            return named_attribute, (module, name)
    return as_usual(generator)


# -- callables ---------------------------------------------------------------------------------


def _reduce_method(method: MethodType) -> Any:
    # pickle writes getattr(instance, method.__name__): make sure that it leads back here. It does
    # not for private (mangled) methods, and for functions bound under another name. A class that
    # goes by value may hold a method of its own: it is rebuilt before the class has that name.
    name = getattr(method.__func__, "__name__", "")
    try:
        same = getattr(method.__self__, name) == method
        if is_a(method.__self__, type):
            same = same and importable(method.__self__.__module__) and resolves(method.__self__)
    except Exception:
        same = False
    if same:
        return getattr, (method.__self__, name)
    return bind, (method.__func__, method.__self__)


def bind(function: Any, instance: Any) -> MethodType:
    """A method of `instance` (the type itself cannot be pickled)."""
    return MethodType(function, instance)


def _reduce_cached(cached: Any) -> Any:
    """A function under ``functools.lru_cache``."""
    name = cached.__qualname__
    if importable(cached.__module__) and find(cached.__module__, name) is cached:
        return name
    if cached.__module__ in MAIN or not importable(cached.__module__):
        return rebuild_cached, (cached.__wrapped__, cached.cache_parameters())
    return as_usual(cached)


def _reduce_manager(manager: Any) -> Any:
    """What `contextlib.contextmanager` makes, not entered yet: as a decorator, it never is.

    It holds a generator that has not begun. So the same call makes it again.
    """
    call = manager_call(manager)
    if call is None:
        return as_usual(manager)
    function, args, kwargs = call
    named = find(function.__module__, function.__qualname__)
    if getattr(named, "__wrapped__", None) is function:
        return call_with, (named, args, kwargs)
    return call_with, (class_of(manager), (function, args, kwargs), {})


def call_with(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function."""
    return function(*args, **kwargs)


def _reduce_struct(layout: Any) -> Any:
    """A compiled `struct.Struct`, which is its format. Of a class of the user's: as pickle does."""
    return (Struct, (layout.format,)) if class_of(layout) is Struct else as_usual(layout)


def rebuild_cached(function: Any, parameters: dict[str, Any]) -> Any:
    """A fresh cache around the same function."""
    from functools import lru_cache

    return lru_cache(**parameters)(function)


# -- context variables -------------------------------------------------------------------------

_Place = tuple[str, str]

_places: dict[int, _Place] = {}
_made: dict[_Place, ContextVar[Any]] = {}


def _reduce_variable(variable: ContextVar[Any]) -> Any:
    place = _places.get(id(variable))
    if place is None or _at(place) is not variable:
        place = _place_of(variable)
        if place is None:
            raise Refused(
                Refusal(
                    f"the context variable {variable.name!r}",
                    "A context variable travels by name, and no module holds this one under one.",
                    "Make it at the top level of a module, or pass its value{or_leave_out}.",
                )
            )
        _places[id(variable)] = place
    default = () if importable(place[0]) else _default_of(variable)
    return named_variable, (*place, variable.name, *default)


def _default_of(variable: ContextVar[Any]) -> tuple[Any, ...]:
    """What it gives where it was not set; nothing if that is an error."""
    try:
        return (Context().run(variable.get),)
    except LookupError:
        return ()


def named_variable(module: str, attribute: str, name: str, *default: Any) -> ContextVar[Any]:
    """The variable that `module` holds under `attribute`, made if the module is not here."""
    if module not in MAIN and module not in sys.modules:
        try:
            __import__(module)
        except ImportError:
            pass
    found = _at((module, attribute))
    if class_of(found) is ContextVar:
        variable: ContextVar[Any] = found
        return variable
    made: ContextVar[Any] = ContextVar(name, default=default[0]) if default else ContextVar(name)
    return _made.setdefault((module, attribute), made)


def _at(place: _Place) -> Any:
    return _made.get(place) or getattr(sys.modules.get(place[0]), "__dict__", {}).get(place[1])


def _place_of(variable: ContextVar[Any]) -> _Place | None:
    for place, made in _made.items():
        if made is variable:
            return place
    modules = [(name, vars(module)) for name, module in loaded_modules()]
    for name, contents in modules:
        if contents.get(variable.name) is variable:
            return name, variable.name
    for name, contents in modules:
        for attribute, value in list(contents.items()):
            if value is variable:
                return name, attribute
    return None


def loaded_modules() -> list[tuple[str, ModuleType]]:
    """The modules in ``sys.modules``, which may hold other things as well."""
    loaded: list[tuple[str, Any]] = list(dict(sys.modules).items())
    return [(name, module) for name, module in loaded if isinstance(module, ModuleType)]


# -- exceptions --------------------------------------------------------------------------------

_OWN_REDUCE = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs_ex__")


def has_own_reduce(cls: type) -> bool:
    """Whether an exception class says itself how it is pickled."""
    for base in cls.__mro__:
        if base.__module__ == "builtins":
            return False
        if any(name in base.__dict__ for name in _OWN_REDUCE):
            return True
    return False


def _builtin_base(cls: type) -> Any:
    """The first base that is written in C: it keeps state that has no name."""
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def take_apart(exc: BaseException) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What an exception's builtin base is made from again, and the attributes to put back."""
    reduced = _builtin_base(type(exc)).__reduce__(exc)
    args: Any = reduced[1]
    state: dict[str, Any] = dict(exc.__dict__)
    if len(reduced) > 2 and isinstance(reduced[2], dict):
        state.update(reduced[2])  # such as ImportError.name, which are in no __dict__
    if isinstance(exc, AttributeError | NameError) and exc.name is not None:
        state["name"] = exc.name  # 3.11 forgets it
    for cls in type(exc).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(exc, name):
                state[name] = getattr(exc, name)
    if is_a(exc, BaseExceptionGroup):
        group: Any = exc
        return (group.message, list(group.exceptions)), state
    if exc.args != args:
        state["args"] = exc.args
    return args, state


def make_exception(cls: type[BaseException], args: Any) -> BaseException:
    """An exception of `cls`, without calling any code of its own."""
    base = _builtin_base(cls)
    exc: BaseException = base.__new__(cls, *args)
    base.__init__(exc, *args)
    return exc


def put_back(exc: BaseException, state: dict[str, Any]) -> None:
    """Put attributes back, on frozen dataclasses too."""
    for name, value in state.items():
        try:
            object.__setattr__(exc, name, value)
        except AttributeError:
            exc.__dict__[name] = value  # a property of that name, over the instance's own value


def reduce_exception(exc: BaseException) -> Any:
    """Reducer of exceptions that are sent as values: no traceback, no cause."""
    args, state = take_apart(exc)
    return make_exception, (type(exc), args), state, None, None, put_back


# -- by type -----------------------------------------------------------------------------------


def registered(cls: type) -> Reduce | None:
    """What the program has registered with `copyreg` for a type.

    tblib counts as nothing: where it is installed, as distributed does on import, all exceptions
    and tracebacks of the program are registered. They cross here in Procession's own way.
    """
    found: Any = copyreg.dispatch_table.get(cls)
    if found is None:
        return None
    home = getattr(getattr(found, "func", found), "__module__", None) or ""
    return None if home.partition(".")[0] == "tblib" else found


def array_reducer(cls: type) -> Reduce | None:
    """For arrays, and for their subclasses that do not say themselves how they are pickled."""
    for base in cls.__mro__:
        if f"{base.__module__}.{base.__qualname__}" == "numpy.ndarray":
            from procession.pickling.array_reducers import reduce_array, reduce_subclass

            return reduce_array if cls is base else reduce_subclass
        if "__reduce__" in base.__dict__ or "__reduce_ex__" in base.__dict__:
            return None
    return None


def _reduce_tensor(tensor: Any) -> Any:
    from procession.pickling.file_maps import reduce_tensor

    return reduce_tensor(tensor)


_SPECIAL: dict[str, Reduce] = {
    "random.Random": _reduce_generator,
    "numpy.random.mtrand.RandomState": _reduce_generator,
    "torch.Tensor": _reduce_tensor,
    "builtins.module": _reduce_module,
    "builtins.method": _reduce_method,
    "functools._lru_cache_wrapper": _reduce_cached,
    "_contextvars.ContextVar": _reduce_variable,
    "_struct.Struct": _reduce_struct,
    "contextlib._GeneratorContextManagerBase": _reduce_manager,
}


def special_reducer(cls: type) -> Reduce | None:
    """The reducer of a type in `_SPECIAL`, or of a subclass of one."""
    for base in cls.__mro__:
        special = _SPECIAL.get(f"{base.__module__}.{base.__qualname__}")
        if special is not None:
            return special
    return None
