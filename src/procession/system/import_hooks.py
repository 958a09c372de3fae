"""Doing something as soon as a module has been imported, in any part of the program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec

from procession.hints import Any


def when_loaded(module: str, call: Callable[[], object]) -> None:
    """Call `call` now, if the module is loaded; else within the import that loads it."""
    if module in sys.modules:
        call()
        return
    calls = _finder.awaited.setdefault(module, [])
    if call not in calls:
        calls.append(call)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def forget(module: str, call: Callable[[], object]) -> None:
    """Call it no more, if it was not called yet."""
    calls = _finder.awaited.get(module, [])
    if call in calls:
        calls.remove(call)
    if not calls:
        _finder.take(module)


class _Finder:
    """Finds no module itself: it has others find it, and its loader say when it is loaded."""

    def __init__(self) -> None:
        self.awaited: dict[str, list[Callable[[], object]]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find the module as everybody does."""
        if name not in self.awaited:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    loader: Any = _Loader(spec.loader)
                    spec.loader = loader
                return spec
        return None

    def take(self, module: str) -> list[Callable[[], object]]:
        """What waits for a module, and waits no more.

        The finder stays where it is, though nothing may wait any more. Another thread may be asking
        one finder after the other: if an earlier one went, it would leave out the next.
        """
        return self.awaited.pop(module, [])


class _Loader:
    """Stands in for a module's loader while it is loaded."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        """As the loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """As the loader does; then what waits for the module is called."""
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        for call in _finder.take(module.__name__):
            call()


_finder: Any = _Finder()
