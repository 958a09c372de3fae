"""Libraries that are imported where a test uses them: all processes of a run collect all tests."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any


class _Lazy:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)  # pytest looks whether it is a fixture
        return getattr(importlib.import_module(self._name), name)


def library(name: str) -> Any:
    """What stands for a module; `None` where the library is not installed."""
    return None if find_spec(name.partition(".")[0]) is None else _Lazy(name)
