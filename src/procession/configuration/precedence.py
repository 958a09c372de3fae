"""Where an option comes from, and which place wins.

From the strongest to the weakest: ``PROCESSION_<OPTION>`` in the environment, ``f.with_options``,
the decorator, ``with procession.options(...)``, ``procession.configure(...)``, the default.
"""

from __future__ import annotations

import contextvars
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType

from procession.configuration import from_environment
from procession.configuration.choices import short
from procession.configuration.compatibility import BACKENDS, CLUSTERS, conflicts
from procession.configuration.schema import DEFAULT_BACKEND, Options, OptionValues
from procession.configuration.validation import validate
from procession.errors import OptionError, warn_user
from procession.hints import Any, Unpack
from procession.system import NamedTuple, after_fork
from procession.system.pristine import time
from procession.system.resources import usable_cpus


class _Layer(NamedTuple):
    """One place where options are set."""

    place: str
    values: Mapping[str, Any]


_NOTHING: Mapping[str, Any] = MappingProxyType({})
_configured: Mapping[str, Any] = _NOTHING
_configured_lock = after_fork.lock()
_scoped: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar(
    "procession.options", default=_NOTHING
)


def configure(**values: Unpack[OptionValues]) -> None:
    """Set options for the whole program, below every decorator.

        procession.configure(workers=4, progress=True)

    Adds to what earlier calls set. To take an option back, set it to its default
    (``configure(timeout=None)``). Without arguments it changes nothing. Calls under way keep the
    options that they began with.

    Args:
        **values: Any option of `Options` but ``combine``, which is a decorator's own.

    Raises:
        OptionError: As a decorator does.
    """
    global _configured
    while True:
        before = _configured
        parsed = validate(values, caller="configure", over=before)
        if not parsed:
            return
        with _configured_lock:
            if _configured is before:  # else another thread has set some meanwhile
                # Replaced, never changed: that it is another object is how caches notice.
                _configured = MappingProxyType({**before, **parsed})
                return


def options(**values: Unpack[OptionValues]) -> AbstractContextManager[None]:
    """Set options for the calls made inside a ``with`` block, below every decorator.

        with procession.options(backend="serial"):
            ...

    Blocks nest, the inner one adding to the outer one. A block holds for its own thread or
    asyncio task (and tasks started in it), not for others.

    Args:
        **values: Any option of `Options` but ``combine``, which is a decorator's own.

    Returns:
        A context manager.

    Raises:
        OptionError: As a decorator does.
    """
    return _scope(validate(values, caller="options", over=_scoped.get()))


@contextmanager
def _scope(values: Mapping[str, Any]) -> Generator[None, None, None]:
    token = _scoped.set(MappingProxyType({**_scoped.get(), **values}))
    try:
        yield
    finally:
        _scoped.reset(token)


class _Entry(NamedTuple):
    """A resolved result, and all that it was resolved from."""

    changes: Mapping[str, Any]
    decorator: Mapping[str, Any]
    environment: tuple[Any, ...]
    configured: Mapping[str, Any]
    scoped: Mapping[str, Any]
    until: float
    resolved: Options


_PLAIN = frozenset({int, float, str, bool, type(None)})
"""Types of values that an entry may hold for longer than what they belong to."""

_CACHE_SIZE = 256
_CACHE_SECONDS = 2.0
"""How long a result is used again: the number of usable CPUs may change."""

_cache: dict[tuple[int, int], _Entry] = {}
_last_environment: tuple[Any, ...] | None = None


def resolve(
    changes: Mapping[str, Any] = _NOTHING, decorator: Mapping[str, Any] = _NOTHING
) -> Options:
    """Give the options that hold for a function at this moment.

    The result is cached by the identity of the two mappings, so neither may be changed after the
    first call: replace it.

    Args:
        changes: What `with_options` set, validated.
        decorator: What the decorator was given, validated.

    Raises:
        OptionError: A variable in the environment is wrong, or options from different places
            cannot both be.
    """
    seen = from_environment.snapshot()
    scoped = _scoped.get()
    key = (id(changes), id(decorator))
    entry = _cache.get(key)
    if (
        entry is not None
        # The entry holds both mappings, so their ids cannot have passed to others.
        and entry.environment == seen
        and entry.scoped is scoped
        and entry.configured is _configured
        and entry.until > time.monotonic()
    ):
        return entry.resolved
    configured = _configured
    resolved = _resolve(changes, decorator, scoped, configured, seen)
    if entry is not None and entry.resolved == resolved:
        resolved = entry.resolved  # the same object as long as nothing has changed
    now = time.monotonic()
    # They hold what the options hold: initargs, executors.
    for old in [each for each, known in list(_cache.items()) if known.until < now]:
        _cache.pop(old, None)
    if len(_cache) >= _CACHE_SIZE:
        _cache.clear()
    until = now + _CACHE_SECONDS
    _cache[key] = _Entry(changes, decorator, seen, configured, scoped, until, resolved)
    return resolved


def forget() -> None:
    """Keep no result that holds an object of the user's."""
    for key, entry in list(_cache.items()):
        layers = entry.changes, entry.decorator, entry.configured, entry.scoped
        if not all(type(value) in _PLAIN for layer in layers for value in layer.values()):
            _cache.pop(key, None)


def _resolve(
    changes: Mapping[str, Any],
    decorator: Mapping[str, Any],
    scoped: Mapping[str, Any],
    configured: Mapping[str, Any],
    seen: tuple[Any, ...],
) -> Options:
    global _last_environment
    if seen != _last_environment:
        from_environment.warn_of_strangers()
        _last_environment = seen
    outside = from_environment.overrides() if any(seen) else {}
    layers = (
        _Layer("procession.configure()", configured),
        _Layer("procession.options()", scoped),
        _Layer("the decorator", decorator),
        _Layer("with_options()", changes),
        _Layer(from_environment.PREFIX, outside),
    )
    values: dict[str, Any] = {"backend": DEFAULT_BACKEND}
    places = {"backend": "the default"}
    for place, layer in layers:
        values.update(layer)
        places.update(dict.fromkeys(layer, place))
    given = frozenset(places) - {name for name, place in places.items() if place == "the default"}
    _settle(values, places)
    on_function = {**decorator, **changes}
    explicit = frozenset(name for name, value in on_function.items() if not _off(name, value))
    _fill_in(values)
    return Options(**values, explicit=explicit, given=given)


def _off(name: str, value: Any) -> bool:
    """Whether the value asks for nothing, as in ``timeout=None`` or ``retries=0``."""
    return value is None or (name == "retries" and value == 0)


def _settle(values: dict[str, Any], places: Mapping[str, str]) -> None:
    """Refuse options from different places that cannot both be, unless an operator's did it."""
    for conflict in list(conflicts(values)):
        option, other = conflict.option, conflict.other
        if conflict.local:
            continue
        if from_environment.PREFIX not in (places[option], places.get(other)):
            raise OptionError(
                f"{_told(option, values, places)} and {_told(other, values, places)} cannot both "
                f"be: {conflict.message}"
            )
        if conflict.limit or places[option] == from_environment.PREFIX:
            _warn_once(
                f"{_told(option, values, places)} is ignored, because of "
                f"{_told(other, values, places)}: {conflict.message}"
            )
        values.pop(option, None)


def _told(option: str, values: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """An option, its value, and where that comes from."""
    if option not in values:
        return f"no {option}"
    if places[option] == from_environment.PREFIX:
        return f"{from_environment.PREFIX}{option.upper()}={values[option]}"
    return f"{option}={short(values[option])} (from {places[option]})"


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _warned:
        warn_user(message)
        _warned.add(message)


def _fill_in(values: dict[str, Any]) -> None:
    """Put the defaults in that depend on the machine."""
    cpus = usable_cpus()
    if values.get("workers") is None:
        values["workers"] = cpus
    in_workers = values["backend"] in BACKENDS and values["backend"] not in (
        "thread",
        "serial",
        *CLUSTERS,
    )
    if in_workers and values.get("threads_per_worker") is None:
        values["threads_per_worker"] = max(1, cpus // values["workers"])
