"""What the pytest in a test's process must not do, because the other pytest does it.

Everything here reaches into pytest's own parts, of versions 8.4 to 9; kept in one place for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import pytest

from procession.pytest_isolation.unpatched import os

__all__ = [
    "forget_what_the_other_does",
    "leave_fixtures_of_the_other",
    "report_nowhere_else",
    "silence_terminal",
    "write_captured_to",
]

_OFF: Final[dict[str, Any]] = {
    # Which tests run, and how many at a time.
    "numprocesses": None,
    "maxprocesses": None,
    "dist": "no",
    "tx": [],
    "distload": False,
    "looponfail": False,
    "lf": False,
    "failedfirst": False,
    "newfirst": False,
    "stepwise": False,
    "stepwise_skip": False,
    "cacheclear": False,
    "cacheshow": None,
    "collectonly": False,
    "pyargs": False,
    # What is written at the end.
    "xmlpath": None,
    "durations": None,
    "pastebin": None,
    "report_log": None,
    "htmlpath": None,
    "json_report": False,
    "allure_report_dir": None,
    # Debuggers.
    "usepdb": False,
    "trace": False,
}
"""Options of pytest and its plugins that concern the whole run, and what turns them off."""


_kept: Final[list[object]] = []
"""What was replaced; in a fork its collection would warn of a file left open, or close it."""


def forget_what_the_other_does(config: pytest.Config) -> None:
    """Take back options that concern the whole run."""
    for name, value in _OFF.items():
        if hasattr(config.option, name):
            setattr(config.option, name, value)
    if getattr(config.option, "log_file_mode", None) is None:
        config.option.log_file_mode = "a"


def silence_terminal(config: pytest.Config, fd: int) -> None:
    """Send what the terminal reporter prints to `fd`.

    Some of it matters if the test dies: pytest-timeout prints the stacks there.
    """
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    writer = getattr(reporter, "_tw", None)
    if writer is not None:
        _kept.append(writer._file)
        writer._file = os.fdopen(os.dup(fd), "w", 1, encoding="utf-8", errors="replace")


def mute_terminal(config: pytest.Config) -> None:
    """Drop what the terminal reporter prints from now on."""
    with open(os.devnull, "wb") as nothing:
        silence_terminal(config, nothing.fileno())


def write_captured_to(config: pytest.Config, out: int, err: int) -> None:
    """Let the captured output go through these files, where it outlives this process."""
    manager: Any = config.pluginmanager.getplugin("capturemanager")
    capturing = getattr(manager, "_global_capturing", None)
    for name, fd in (("out", out), ("err", err)):
        stream: Any = getattr(capturing, name, None)
        if stream is None or not hasattr(stream, "tmpfile"):
            continue
        if not hasattr(stream, "targetfd_save"):
            _copy(stream, fd)
            continue
        own = stream.tmpfile.fileno()
        os.write(fd, os.pread(own, os.fstat(own).st_size, 0))
        os.dup2(fd, own, inheritable=False)
        if stream._state == "started":
            os.dup2(fd, stream.targetfd)


def _copy(stream: Any, fd: int) -> None:
    """Copy to `fd` what is captured in memory, until it is taken for a report."""
    write, snap, put, cut = stream.tmpfile.write, stream.snap, os.write, os.ftruncate

    def write_both(text: str) -> int:
        put(fd, text.encode("utf-8", "replace"))
        return int(write(text))

    def snap_both() -> Any:
        cut(fd, 0)
        return snap()

    stream.tmpfile.write, stream.snap = write_both, snap_both


def report_nowhere_else(config: pytest.Config, keep: tuple[object, ...]) -> None:
    """Leave reports and warnings to `keep` alone: every other plugin hears them from pytest."""
    for name in (
        "pytest_runtest_logstart",
        "pytest_runtest_logreport",
        "pytest_runtest_logfinish",
        "pytest_warning_recorded",
    ):
        caller: Any = getattr(config.hook, name)
        for implementation in caller.get_hookimpls():
            if not any(implementation.plugin is one for one in keep):
                caller._remove_plugin(implementation.plugin)


def leave_fixtures_of_the_other(session: pytest.Session) -> None:
    """In a fork: use the fixtures that are set up, and never tear them down."""
    state: Any = session._setupstate
    for node, (_, failure) in list(state.stack.items()):
        state.stack[node] = ([], failure)
    for definition in _fixtures(session):
        definition._finalizers.clear()


def _fixtures(session: pytest.Session) -> Iterator[Any]:
    """Every fixture's definition: by name, from pytest 9 on then by node."""
    manager: Any = session._fixturemanager
    for name in ("_arg2fixturedefs", "_arg2node2fixturedefs"):
        for found in getattr(manager, name, {}).values():
            groups: Iterable[Any] = found.values() if hasattr(found, "values") else [found]
            for definitions in groups:
                yield from definitions
