"""Settings of the interpreter that change what a function gives, read where a call is made.

The decimal context, numpy's error state, the recursion limit and so on: a worker starts with
Python's defaults, so what differs from them is sent along with the job (`adopting` takes it over
there). Reading takes about a microsecond, and nothing is imported for it: a module that is not
loaded has its defaults.
"""

from __future__ import annotations

import pickle
import sys
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

from procession.forwarding.places import changes, folder, umask

__all__ = [
    "DEFAULTS",
    "PRINT_OPTIONS",
    "decimal_context",
    "differing",
    "holds_settings",
    "read",
    "separate",
]

DEFAULTS: Final[dict[str, Any]] = {
    "recursion_limit": 1000,
    "int_digits": 4300,
    "socket_timeout": None,
    "csv_field": 131072,
    "locale": None,
    "folder": None,
    "umask": None,
    "environment": {},
    "decimal": None,
    "numpy": None,
}
"""What each setting is where nobody has set it; `None` also stands for a module's own default."""

PRINT_OPTIONS: Final[dict[str, Any]] = {
    "precision": 8,
    "threshold": 1000,
    "edgeitems": 3,
    "linewidth": 75,
    "suppress": False,
    "nanstr": "nan",
    "infstr": "inf",
    "formatter": None,
    "sign": "-",
    "floatmode": "maxprec",
    "legacy": False,
}
"""Numpy's own, which have been these since 1.14."""

_ERRORS: Final = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_DECIMAL: Final = (
    *(28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0),
    frozenset({"InvalidOperation", "DivisionByZero", "Overflow"}),
)

_last: tuple[Any, bytes] = (None, b"")
_decimal_variable: ContextVar[Any] | None = None
_no_context = object()


def differing() -> bytes:
    """What this thread's settings are where they differ from the defaults, pickled; else empty.

    The same object as long as nothing has changed.
    """
    global _last
    modules = sys.modules
    seen = (
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        _call(modules, "_socket", "getdefaulttimeout"),
        _call(modules, "_csv", "field_size_limit"),
        _locale_seen() if "locale" in modules else None,
        folder(),
        umask(),
        changes(),
        _decimal_seen() if "decimal" in modules else None,
        _numpy_seen(modules["numpy"]) if "numpy" in modules else None,
    )
    known, blob = _last
    if known == seen:
        return blob
    values = read()
    found = {name: value for name, value in values.items() if value != DEFAULTS[name]}
    new = pickle.dumps(found, 5) if found else b""
    blob = blob if blob == new else new
    _last = seen, blob
    return blob


def read() -> dict[str, Any]:
    """All settings as they are in this thread, in the form in which they are sent."""
    modules = sys.modules
    numpy = modules.get("numpy")
    return {
        "recursion_limit": sys.getrecursionlimit(),
        "int_digits": sys.get_int_max_str_digits(),
        "socket_timeout": _call(modules, "_socket", "getdefaulttimeout"),
        "csv_field": _call(modules, "_csv", "field_size_limit") or DEFAULTS["csv_field"],
        "locale": _locale() if "locale" in modules else None,
        "folder": folder(),
        "umask": umask(),
        "environment": changes(),
        "decimal": _decimal() if "decimal" in modules else None,
        "numpy": None if numpy is None else _numpy(numpy),
    }


def _call(modules: dict[str, Any], module: str, function: str) -> Any:
    found = modules.get(module)
    return None if found is None else getattr(found, function)()


# -- locale ----------------------------------------------------------------------------------


def _locale_seen() -> str:
    import _locale as c

    return c.setlocale(c.LC_ALL)


def _locale() -> str | None:
    """The locale, if the program has set more of it than Python itself does at its start."""
    import _locale as c

    names = ("LC_COLLATE", "LC_MONETARY", "LC_NUMERIC", "LC_TIME", "LC_MESSAGES")
    categories = [getattr(c, name) for name in names if hasattr(c, name)]
    if all(c.setlocale(each) in ("C", "POSIX") for each in categories):
        return None
    return c.setlocale(c.LC_ALL)


# -- decimal ---------------------------------------------------------------------------------


def decimal_context() -> Any:
    """This thread's decimal context; where it has none yet, what it would be made from.

    `decimal.getcontext` would make one, and so a context variable that has to be looked at with
    each call from then on.
    """
    global _decimal_variable
    decimal = sys.modules["decimal"]
    if _decimal_variable is None:
        _decimal_variable = Context().run(_find_variable, decimal)
    if _decimal_variable is None:  # the pure Python module, or none that keeps it in a variable
        return decimal.getcontext()
    found = _decimal_variable.get(_no_context)
    return decimal.DefaultContext if found is _no_context else found


def separate() -> None:
    """In a copy of the caller's context, in another thread: have a decimal context of its own.

    The copy holds the same object, which is changed by each calculation.
    """
    decimal = sys.modules.get("decimal")
    if decimal is not None:
        mine = decimal_context().copy()
        mine.clear_flags()
        decimal.setcontext(mine)


def _find_variable(decimal: Any) -> ContextVar[Any] | None:
    made = decimal.getcontext()
    return next((each for each, value in copy_context().items() if value is made), None)


def _decimal_seen() -> Any:
    try:
        fields = decimal_context().__reduce__()[1]
    except AttributeError:  # another thread is importing it
        return None
    return (*fields[:6], tuple(fields[7])) if len(fields) == 8 else None


def _decimal() -> Any:
    seen = _decimal_seen()
    if seen is None:
        return None
    found = *seen[:6], frozenset(signal.__name__ for signal in seen[6])
    return None if found == _DECIMAL else found


# -- numpy -----------------------------------------------------------------------------------


def _numpy_seen(numpy: Any) -> Any:
    """What tells quickly whether numpy's settings are those seen last.

    Numpy 2 keeps them in two context variables, whose values are never changed in place.
    """
    errors, options = _numpy_variables()
    if errors is not None and options is not None:
        return errors.get(None), options.get(None)
    return _numpy(numpy)


def _numpy_variables() -> tuple[ContextVar[Any] | None, ContextVar[Any] | None]:
    modules = sys.modules
    umath = modules.get("numpy._core._multiarray_umath")
    printing = modules.get("numpy._core.printoptions")
    errors = getattr(umath, "_extobj_contextvar", None)
    return errors, getattr(printing, "format_options", None)


def holds_settings(variable: ContextVar[Any]) -> bool:
    """Whether it is one in which decimal or numpy keep what is read here."""
    return variable is _decimal_variable or variable in _numpy_variables()


def _numpy(numpy: Any) -> Any:
    """The error state, its callback and the print options that are not the default; pickled."""
    try:
        errors, call = numpy.geterr(), numpy.geterrcall()
        options = numpy.get_printoptions()
    except AttributeError:  # another thread is importing it
        return None
    options = {name: options[name] for name in PRINT_OPTIONS if name in options}
    if options.get("legacy") == sys.maxsize:  # the default's internal form
        options["legacy"] = False
    printed = {name: each for name, each in options.items() if each != PRINT_OPTIONS[name]}
    changed = {name: each for name, each in errors.items() if each != _ERRORS.get(name)}
    if not (printed or changed or call is not None):
        return None
    return _packed((errors, call, printed))


def _packed(settings: tuple[Any, Any, dict[str, Any]]) -> bytes:
    """Pickled; without the functions among them where those cannot cross."""
    from procession.pickling.pickler import dumps

    errors, call, printed = settings
    plain = {name: each for name, each in printed.items() if name != "formatter"}
    for callback, options in ((call, printed), (call, plain), (None, printed)):
        try:
            return dumps((errors, callback, options), "by-value")
        except Exception:
            continue
    return dumps((errors, None, plain), "by-value")
