"""Settings that follow: what differs from Python's defaults in the caller is adopted by workers.

Here are the decimal context, numpy's error state and print options; what belongs to the process is
in `process_settings`. They are read where a call is made, which takes about a microsecond, and
nothing is imported for it: a module that is not loaded has its defaults.

What belongs to a thread's context (decimal, numpy) is set in the context of each item, and ends
with it. What belongs to the process is set when a job brings another value than the one before. For
a job that brings none it is put back.
"""

from __future__ import annotations

import sys
from contextvars import Context, ContextVar, copy_context

from procession.forwarding.process_settings import SETTINGS, glance, keep_variables
from procession.hints import Any
from procession.system.cpython import pickle
from procession.system.import_hooks import forget, when_loaded
from procession.system.interrupts import tried

_OF_CONTEXTS = ("decimal", "numpy")

_DEFAULTS: dict[str, Any] = {
    **{name: setting.default for name, setting in SETTINGS.items()},
    **dict.fromkeys(_OF_CONTEXTS),
}

_PRINT_OPTIONS: dict[str, Any] = {
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

_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_DECIMAL = (
    *(28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0),
    frozenset({"InvalidOperation", "DivisionByZero", "Overflow"}),
)

_last: tuple[Any, bytes] = (None, b"")

# -- the caller's half -----------------------------------------------------------------------


def differing() -> bytes:
    """What this thread's settings are where they differ from the defaults, pickled; else empty.

    The same object as long as nothing has changed.
    """
    global _last
    modules = sys.modules
    seen = (
        glance(),
        _decimal_seen() if "decimal" in modules else None,
        _numpy_seen(modules["numpy"]) if "numpy" in modules else None,
    )
    known, blob = _last
    if known == seen:
        return blob
    found = {name: value for name, value in read().items() if value != _DEFAULTS[name]}
    new = pickle.dumps(found, 5) if found else b""
    blob = blob if blob == new else new
    _last = seen, blob
    return blob


def read() -> dict[str, Any]:
    """All settings as they are in this thread, in the form in which they are sent."""
    numpy = sys.modules.get("numpy")
    return {
        **{name: setting.read() for name, setting in SETTINGS.items()},
        "decimal": _decimal() if "decimal" in sys.modules else None,
        "numpy": None if numpy is None else _numpy(numpy),
    }


# -- the worker's half -----------------------------------------------------------------------

_initialized: set[str] = set()
"""Settings that this worker's initializer has set: it is written for workers, so it wins."""


def keep_changes(before: dict[str, Any]) -> None:
    """Keep what an initializer has set from here on.

    Args:
        before: What `read` gave before it ran.
    """
    now = read()
    _initialized.update(name for name, value in now.items() if value != before[name])
    if "environment" in _initialized:  # an import may have set a variable that no one else sets
        _initialized.remove("environment")
        keep_variables(before["environment"], now["environment"])


class AdoptedSettings:
    """What a worker has taken over.

    Args:
        inherits: Whether it was forked from the caller, whose settings of that moment it has.
        apart: Whether this process is the worker's own.
    """

    def __init__(self, *, inherits: bool = False, apart: bool = True) -> None:
        self._blob: bytes | None = None if inherits else b""
        self._base: dict[str, Any] = dict(_DEFAULTS) if inherits else {}
        self._apart = apart
        self._values: dict[str, Any] = {}
        self._numpy: tuple[Any, Any, dict[str, Any]] | None = None
        self._dirty = False  # whether a numpy that knows no contexts has settings of ours

    def adopt(self, blob: bytes) -> None:
        """In the context of an item that is about to run: set what its job brought."""
        if blob != self._blob:
            self._blob = blob
            self._change(pickle.loads(blob) if blob else {})
        if self._values:
            self._enter()
        elif self._dirty:
            self._dirty = False
            _set_numpy((_ERRORS, None, {}))

    def _change(self, values: dict[str, Any]) -> None:
        self._values = {
            name: values[name] for name in _OF_CONTEXTS if name in values.keys() - _initialized
        }
        packed = self._values.get("numpy")
        self._numpy = None
        if packed is not None:
            from procession.pickling.pickler import loads

            self._numpy = loads(packed)
        else:
            forget("numpy", self._set_numpy)
        if self._apart:
            self._change_process(values)

    def _change_process(self, values: dict[str, Any]) -> None:
        for name, setting in SETTINGS.items():
            if name in _initialized:
                continue
            now = setting.read()
            if name in values:
                self._base.setdefault(name, now)
                setting.adopt(values[name])
            elif name in self._base and self._base[name] != now:
                setting.adopt(self._base[name])

    def _enter(self) -> None:
        if "decimal" in self._values:
            _set_decimal(self._values["decimal"])
        if self._numpy is not None:
            when_loaded("numpy", self._set_numpy)
        elif self._dirty:
            self._dirty = False
            _set_numpy((_ERRORS, None, {}))

    def _set_numpy(self) -> None:
        if self._numpy is not None:
            self._dirty = sys.modules["numpy"].__version__.startswith("1.")
            _set_numpy(self._numpy)


# -- decimal ---------------------------------------------------------------------------------


_decimal_variable: ContextVar[Any] | None = None
_no_context = object()


def _decimal_context() -> Any:
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
        mine = _decimal_context().copy()
        mine.clear_flags()
        decimal.setcontext(mine)


def _find_variable(decimal: Any) -> ContextVar[Any] | None:
    made = decimal.getcontext()
    return next((each for each, value in copy_context().items() if value is made), None)


def _decimal_seen() -> Any:
    try:
        fields = _decimal_context().__reduce__()[1]
    except AttributeError:  # another thread is importing it
        return None
    return (*fields[:6], tuple(fields[7])) if len(fields) == 8 else None


def _decimal() -> Any:
    seen = _decimal_seen()
    if seen is None:
        return None
    found = *seen[:6], frozenset(signal.__name__ for signal in seen[6])
    return None if found == _DECIMAL else found


def _set_decimal(fields: tuple[Any, ...]) -> None:
    import decimal

    prec, rounding, least, most, capitals, clamp, traps = fields
    signals = [getattr(decimal, name) for name in traps]
    context = decimal.Context(prec, rounding, least, most, capitals, clamp, [], signals)
    decimal.setcontext(context)


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
    options = {name: options[name] for name in _PRINT_OPTIONS if name in options}
    if options.get("legacy") == sys.maxsize:  # the default's internal form
        options["legacy"] = False
    printed = {name: each for name, each in options.items() if each != _PRINT_OPTIONS[name]}
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
        packed: bytes | None = tried(None, dumps, (errors, callback, options), "by-value")
        if packed is not None:
            return packed
    return dumps((errors, None, plain), "by-value")


def _set_numpy(settings: tuple[Any, Any, dict[str, Any]]) -> None:
    import numpy

    errors, call, printed = settings
    if numpy.geterrcall() is not call:
        numpy.seterrcall(call)
    numpy.seterr(**errors)
    numpy.set_printoptions(**{**_PRINT_OPTIONS, **printed})
