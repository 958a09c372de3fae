"""What a test's module needs of pytest and of large libraries in a worker, without their imports.

A worker that runs a function of a test's module imports that module, and so pytest: a fifth of a
second of a processor in each worker that starts anew, and the like for asyncio, numpy and pandas.
There, pytest is only asked for the decorators of tests, and they may do nothing. All else is the
real one's, imported when a function first asks for it.

A stand-in is never in `sys.modules`: the worker sees what is loaded there, and what is not.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:  # or each worker imports `typing`
    from collections.abc import Sequence
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


class Light(ModuleType):
    """A module that imports the real one when it is asked for a name that it has not."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def _light(name: str) -> ModuleType:
    """A stand-in for what has one and is not loaded here."""
    there = name in sys.modules or name not in LIGHT
    return importlib.import_module(name) if there else LIGHT[name](name)


class LightPytest(Light):
    """pytest, of which a worker needs marks, fixtures and params only."""

    mark = _Marks()
    fixture = _Mark()
    param = staticmethod(_param)
    importorskip = staticmethod(_light)


LIGHT: dict[str, type[Light]] = {
    "pytest": LightPytest,
    "asyncio": Light,
    "numpy": Light,
    "pandas": Light,
}


class _Loader(SourceFileLoader):
    """Loads a module of the tests, whose own imports give stand-ins for what is not loaded here."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        usual = builtins.__import__

        def lending(name: str, space: Any = None, *more: Any) -> ModuleType:
            if name in LIGHT and name not in sys.modules and space is vars(module):
                return LIGHT[name](name)
            return usual(name, space, *more)

        builtins.__import__ = lending  # type: ignore[assignment]
        try:
            super().exec_module(module)
        finally:
            builtins.__import__ = usual


class _Finder:
    """Finds the modules of the tests."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module is, and what loads it."""
        spec = PathFinder.find_spec(name, path, target) if name.startswith("tests.") else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


def lend() -> None:
    """From now on lend stand-ins to each module of the tests, unless these are run here."""
    if "pytest" not in sys.modules:
        sys.meta_path.insert(0, _Finder())
