"""What ``@pytest.mark.isolated(...)`` was given, checked and put together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Literal

import pytest

from procession.system import NamedTuple
from procession.system.posix import MISSING, OWN_WORKERS

_NAMES = ("timeout", "memory_limit", "context", "group")


class Isolation(NamedTuple):
    """How one test is isolated.

    Attributes:
        timeout: Seconds the test may take, with its fixtures, once its process is up.
        memory_limit: Bytes of private memory its process may reach.
        context: ``"spawn"``, a fresh interpreter; or ``"fork"``, a copy of pytest's process.
        group: The node whose tests share the process, or `None` for a process per test.
    """

    timeout: float | None = None
    memory_limit: int | None = None
    context: Literal["spawn", "fork"] = "spawn"
    group: pytest.Collector | None = None


class _Refused(ValueError):
    """What is wrong with a marker, in words that follow its name."""


def isolation_of(item: pytest.Item, marker: str) -> Isolation:
    """Put an item's markers together: the closest one wins, option by option.

    Raises:
        pytest.UsageError: A marker's argument has an unknown name or a wrong value.
    """
    given: dict[str, Any] = {}
    try:
        for mark in item.iter_markers(marker):
            if mark.args:
                raise _Refused(
                    f"was given {', '.join(map(repr, mark.args))}, and takes keywords only. "
                    f"Write @pytest.mark.{marker}(timeout={mark.args[0]!r}), or the name you meant"
                )
            for name in mark.kwargs:
                if name not in _NAMES:
                    raise _Refused(_no_such(name, mark.kwargs[name], marker))
            given = {**mark.kwargs, **given}
        parsed = {
            name: _PARSERS[name](item, value) for name, value in given.items() if value is not None
        }
    except _Refused as refused:
        raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.{marker} {refused}.") from None
    return Isolation(**parsed)


def refuse_here(item: pytest.Item, marker: str) -> None:
    """Refuse the marker on a platform where Procession has no processes of its own.

    Raises:
        pytest.UsageError: This is one.
    """
    if not OWN_WORKERS:
        raise pytest.UsageError(
            f"{item.nodeid}: @pytest.mark.{marker} runs a test in a process of its own, for which "
            f"this platform ({sys.platform}) lacks {', '.join(MISSING)}. Add "
            "--procession-isolation=off to run such tests in pytest's own process."
        )


def _no_such(name: str, value: object, marker: str) -> str:
    import difflib

    from procession.configuration.validation import ALIASES

    near = {"memory": "memory_limit", "scope": "group", "limit": "timeout"}.get(name)
    near = near or ALIASES.get(name)
    if near not in _NAMES:
        near = next(iter(difflib.get_close_matches(name, _NAMES, 1, 0.6)), None)
    if near is None:
        return f"has no argument {name!r}. It takes {', '.join(_NAMES)}"
    return f"has no argument {name!r}. Write @pytest.mark.{marker}({near}={value!r})"


def _as_option(name: str, value: Any) -> Any:
    """Parse a value by the rule of the option of the same name."""
    from procession.configuration.validation import parse_option
    from procession.errors import OptionError

    try:
        return parse_option(name, value, f"was given {name}={value!r}")
    except OptionError as error:
        raise _Refused(str(error).rstrip(".")) from None


def _timeout(item: pytest.Item, value: Any) -> Any:
    return _as_option("timeout", value)


def _memory_limit(item: pytest.Item, value: Any) -> Any:
    if not os.path.exists("/proc/self/status"):
        raise _Refused(
            f"was given memory_limit={value!r}, and this system ({sys.platform}) has no "
            "/proc to read a process's private memory from. Leave memory_limit out here"
        )
    return _as_option("memory_limit", value)


def _context(item: pytest.Item, value: Any) -> Any:
    if value not in ("spawn", "fork"):
        raise _Refused(
            f"was given context={value!r}. With context='spawn' (as without) a test runs in a "
            "fresh interpreter; with context='fork' in a copy of pytest's own process"
        )
    if value == "fork" and not hasattr(os, "fork"):
        raise _Refused(
            f"was given context='fork', and this system ({sys.platform}) cannot fork. "
            "Leave context out for a fresh interpreter"
        )
    return value


def _group(item: pytest.Item, value: Any) -> pytest.Collector:
    kinds: dict[Any, type[pytest.Collector]] = {"class": pytest.Class, "module": pytest.Module}
    if not isinstance(value, str) or value not in kinds:
        raise _Refused(
            f"was given group={value!r}. Tests can share a process by group='class' or "
            "group='module'; leave it out for a process per test"
        )
    node = item.getparent(kinds[value])
    if node is None:
        raise _Refused(
            f"was given group={value!r}, and this test is in no {value}. "
            "Write group='module', or leave it out"
        )
    return node


_PARSERS: dict[str, Callable[[pytest.Item, Any], Any]] = {
    "timeout": _timeout,
    "memory_limit": _memory_limit,
    "context": _context,
    "group": _group,
}
