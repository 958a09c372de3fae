"""Parsers of options that choose by name (backend, start context, modes), and how one refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from procession.configuration.compatibility import (
    BACKENDS,
    CONTEXTS,
    context_name,
    dask_client,
)
from procession.hints import Any
from procession.system.posix import FORKS


class WrongValue(Exception):
    """A value breaks its option's rule; says the rule and what to write instead."""


def refuse_type(value: object, rule: str, instead: str) -> WrongValue:
    """What to raise for a value of the wrong type."""
    article = "an" if type(value).__name__[0] in "aeioAEIO" else "a"
    return WrongValue(f"{rule}, and this is {article} {type(value).__name__}. {instead}")


def short(value: object) -> str:
    """A value as a reader would write it, cut to one line."""
    named = getattr(value, "__qualname__", None)
    if isinstance(named, str) and callable(value):
        return named
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


def backend(value: Any) -> Any:
    """A backend's name, or an executor."""
    if isinstance(value, str):
        if value in BACKENDS:
            return value
        raise WrongValue(
            f"there is no such backend. {_choose('backend', BACKENDS, value, _BACKEND_ALIASES)} "
            "Or give a concurrent.futures.Executor, or a distributed.Client."
        )
    if dask_client(value) is not None:
        return value
    # An executor's module is loaded, so nothing is imported to find out.
    base: Any = sys.modules.get("concurrent.futures._base")
    if base is not None and isinstance(value, base.Executor):
        return value
    if base is not None and isinstance(value, type) and issubclass(value, base.Executor):
        raise WrongValue(
            f"this is the class, and an executor itself is needed. "
            f"Write backend={value.__name__}(...)."
        )
    raise refuse_type(
        value,
        "backend must be a name, a concurrent.futures.Executor or a distributed.Client",
        _choose("backend", BACKENDS),
    )


_BACKEND_ALIASES = {
    "processes": "process",
    "multiprocessing": "process",
    "mp": "process",
    "pool": "process",
    "threads": "thread",
    "threading": "thread",
    "sequential": "serial",
    "sync": "serial",
    "synchronous": "serial",
    "inline": "serial",
    "local": "serial",
    "concurrent.futures": "stdlib",
    "futures": "stdlib",
    "joblib": "loky",
}


def address(value: Any) -> str:
    """A cluster's address."""
    if not isinstance(value, str):
        raise refuse_type(
            value, "address must be a string", "Write address='tcp://scheduler:8786'."
        )
    if not value:
        raise WrongValue("address must not be empty. Write address='tcp://scheduler:8786'.")
    return value


def context(value: Any) -> Any:
    """A start context's name, or a context object."""
    if isinstance(value, str):
        if value not in CONTEXTS:
            raise WrongValue(
                f"there is no such start context. {_choose('context', CONTEXTS, value)} "
                "Or give a multiprocessing context object."
            )
    elif (
        isinstance(value, (type, ModuleType))
        or not callable(getattr(value, "Process", None))
        or not callable(getattr(value, "get_start_method", None))
    ):
        raise refuse_type(
            value,
            "context must be a name or a multiprocessing context object",
            "Write context='spawn' or context=multiprocessing.get_context('spawn').",
        )
    if not FORKS and context_name(value) in ("fork", "forkserver"):
        raise WrongValue(
            f"this platform ({sys.platform}) cannot fork. Write context='spawn' or context='loky'."
        )
    return value


def one_of(option: str, names: tuple[str, ...]) -> Callable[[Any], str]:
    """A parser that takes one of these names."""

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise refuse_type(value, f"{option} must be a name", _choose(option, names))
        if value not in names:
            raise WrongValue(f"there is no such {option} mode. {_choose(option, names, value)}")
        return value

    return parse


def _choose(
    option: str,
    names: tuple[str, ...],
    given: str = "",
    aliases: Mapping[str, str] | None = None,
) -> str:
    import difflib

    near = (aliases or {}).get(given.lower().strip())
    if near is None and given:
        near = next(iter(difflib.get_close_matches(given.lower(), names, 1, 0.6)), None)
    known = ", ".join(map(repr, names[:-1])) + f" and {names[-1]!r}"
    first = f"Write {option}={near!r}. " if near else ""
    return f"{first}The names are {known}."
