"""What a test's module needs of pytest in a worker, without an import of pytest.

A worker that runs a function of a test's module imports that module, and so pytest: a fifth of a
second of a processor in each worker that starts anew. There, only the decorators of tests are asked
for, and they may do nothing. All else is the real one's.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:  # or each worker imports `typing`
    from typing import Any


class _Mark:
    """``pytest.mark.NAME`` and ``pytest.fixture``, plain or called: leaves what it is on."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return args[0] if len(args) == 1 and not options and callable(args[0]) else self


class _Marks:
    """``pytest.mark``."""

    def __getattr__(self, name: str) -> _Mark:
        return _Mark()


def _param(*values: Any, **options: Any) -> tuple[Any, ...]:
    """``pytest.param``."""
    return values


class LightPytest(ModuleType):
    """The module in `sys.modules` until somebody asks for more than marks, fixtures and params."""

    mark = _Marks()
    fixture = _Mark()
    param = staticmethod(_param)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get("pytest") is self:
            del sys.modules["pytest"]  # or it is found in place of the real one
        return getattr(importlib.import_module("pytest"), name)


def lend() -> None:
    """Put it in the place of pytest, where that was not imported."""
    if "pytest" not in sys.modules:
        sys.modules["pytest"] = LightPytest("pytest")
