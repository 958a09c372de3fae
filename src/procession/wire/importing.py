"""Which names a worker can import.

What is pickled by reference is found again by ``import module``. That works for a module that the
import system finds under its own name in the same file, and not for ``__main__``, for a module
that was put into ``sys.modules`` by hand, for a test under ``--import-mode=importlib``, or for a
file whose folder has left ``sys.path``. What lives there must go by value.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MAIN", "find", "importable", "refresh", "resolves", "unimportable_marks"]

MAIN = frozenset({"__main__", "__mp_main__"})
"""Names under which a process knows its own main module; a worker's is another one."""

_CYTHON = ("_cython_", "cython_runtime")
"""What Cython puts into ``sys.modules`` in every process: nobody's functions and classes."""

_known: dict[str, bool] = {}
_specs: dict[str, ModuleSpec | None] = {}
_path: list[str] = []
_seen: set[str] = set()
_seen_count = 0
_marks: tuple[bytes, ...] = ()


def importable(name: Any) -> bool:
    """Whether a worker that has our ``sys.path`` gets this very module by importing `name`."""
    if not isinstance(name, str) or name in MAIN:
        return False
    answer = _known.get(name)
    if answer is None:
        answer = _is_importable(name)
        if name in sys.modules:  # else it may be imported yet
            _known[name] = answer
    return answer


def refresh() -> None:
    """Forget what was found if ``sys.path`` has changed since."""
    global _path, _seen_count
    if sys.path != _path:
        _path = list(sys.path)
        _known.clear()
        _specs.clear()
        _seen.clear()
        _seen_count = 0


def _is_importable(name: str) -> bool:
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    module = sys.modules.get(name)
    if module is None:
        return False
    file = getattr(module, "__file__", None)
    parent = name.rpartition(".")[0]
    if file is None and not getattr(module, "__path__", None):
        # Built by hand or by its package (`six.moves`, parts of a C extension): the package will
        # build it again. Without a package nobody will.
        return importable(parent) if parent else _locate(name) is not None
    spec = _locate(name)
    if spec is None:
        return False
    return file is None or spec.origin is None or _same_file(file, spec.origin)


def _same_file(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _locate(name: str) -> ModuleSpec | None:
    """What a fresh interpreter would find under `name`, without importing anything."""
    if name in _specs:
        return _specs[name]
    _specs[name] = None
    parent = name.rpartition(".")[0]
    places: list[Any] = [None]
    if parent:
        package = _locate(parent)
        if package is None:
            return None
        # A package may have changed its own path while it was imported: try that one second.
        loaded = getattr(sys.modules.get(parent), "__path__", None)
        places = [p for p in (package.submodule_search_locations, loaded) if p is not None]
    for place in places:
        for finder in list(sys.meta_path):
            try:
                spec = finder.find_spec(name, place, None)
            except Exception:
                continue
            if spec is not None:
                _specs[name] = spec
                return spec
    return None


def find(module: str, qualname: str) -> Any:
    """The object under ``module.qualname`` here, or `None`; imports nothing."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        if found is None or part == "<locals>":
            return None
        try:
            found = getattr(found, part, None)
        except Exception:
            return None
    return found


def resolves(obj: Any) -> bool:
    """Whether a class or function is what its own module and qualified name lead to."""
    name = getattr(obj, "__qualname__", None)
    return isinstance(name, str) and find(getattr(obj, "__module__", None) or "", name) is obj


def unimportable_marks() -> tuple[bytes, ...]:
    """How the names of modules that workers cannot import look in a pickle.

    The C pickler writes plain functions and classes by name and asks nobody, so their modules are
    looked for in what it wrote. New modules are judged when ``sys.modules`` has grown.
    """
    global _seen_count, _marks
    if len(sys.modules) != _seen_count:
        _seen_count = len(sys.modules)
        _marks = tuple(_mark(name) for name in _suspects())
    return _marks


def _suspects() -> list[str]:
    new = sys.modules.keys() - _seen
    _seen.update(new)
    usual = tuple({os.path.dirname(os.__file__), *_site_folders()})
    for name in new:
        module = sys.modules.get(name)
        if not isinstance(module, ModuleType) or name in MAIN or name.startswith(_CYTHON):
            continue
        file = module.__dict__.get("__file__")
        if not (isinstance(file, str) and file.startswith(usual)):
            importable(name)
    return ["__main__", *(name for name, known in _known.items() if not known)]


def _site_folders() -> list[str]:
    return [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]


def _mark(name: str) -> bytes:
    text = name.encode("utf-8", "surrogatepass")
    # SHORT_BINUNICODE, length, name, MEMOIZE: the longer the mark, the faster the search.
    return b"\x8c" + bytes([len(text)]) + text + b"\x94" if len(text) < 256 else text
