"""What a test's process writes beside the capture, passed on to where pytest itself writes."""

from __future__ import annotations

import sys
from typing import Any, Final

import pytest

from procession.pytest_isolation.files import Shared
from procession.pytest_isolation.unpatched import os

__all__ = ["STREAMS", "Forwarder"]

STREAMS: Final = ("raw_out", "raw_err", "log")
"""The files that are passed on, in the order in which records name their sizes."""

Sizes = tuple[int, ...]


class Forwarder:
    """Passes output on in the order of the records: before each, what was printed before it.

    Args:
        config: pytest's configuration.
        files: What is shared with the test's process.
    """

    def __init__(self, config: pytest.Config, files: Shared) -> None:
        self._files = files
        self._passed: dict[str, int] = {}
        self._are_one = files.fds["raw_out"] == files.fds["raw_err"]
        self._terminal: Any = _live_terminal(config)

    def begin(self, sizes: Sizes) -> None:
        """Pass on from now on; what was printed before, pytest has printed itself."""
        for name, size in zip(STREAMS, sizes, strict=False):
            if name == "log" or name not in self._passed:
                self._passed[name] = size

    def sizes(self) -> Sizes:
        """How much there is now."""
        return tuple(map(self._files.size, STREAMS))

    def pass_on(self, sizes: Sizes) -> None:
        """Pass on what has come, up to these sizes."""
        for name, size in zip(STREAMS, sizes, strict=False):
            if self._passed.get(name, size) < size and self._is_passed_on(name):
                self._write(name, size)

    def _is_passed_on(self, name: str) -> bool:
        if name == "log":
            return self._terminal is not None
        return name == "raw_out" or not self._are_one

    def _write(self, name: str, size: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # What pytest has printed so far comes first.
        fd = self._files.fds[name]
        while part := os.pread(fd, min(1 << 16, size - self._passed[name]), self._passed[name]):
            self._passed[name] += len(part)
            if name == "log":
                self._terminal.write(part.decode("utf-8", "replace"), flush=True)
                continue
            while part:
                part = part[os.write(1 if name == "raw_out" else 2, part) :]

    def unseen(self, name: str) -> str:
        """What came and was not passed on."""
        if name == "raw_err" and self._are_one:
            return ""  # Its file is asked for under its other name.
        return self._files.content(name, self._passed.get(name, 0))


def _live_terminal(config: pytest.Config) -> Any:
    """The terminal that log records or fixtures are shown on while a test runs, if they are."""
    plugin: Any = config.pluginmanager.getplugin("logging-plugin")
    logs = plugin is not None and plugin._log_cli_enabled()
    if not (logs or config.getoption("setupshow", False)):
        return None
    return config.pluginmanager.getplugin("terminalreporter")
