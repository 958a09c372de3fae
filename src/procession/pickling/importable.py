"""Which names a worker can import.

What is pickled by reference is found again by ``import module``. That works for a module that the
import system finds under its own name in the same file. It does not for ``__main__``, or a module
that was put into ``sys.modules`` by hand. Nor does it for a test under ``--import-mode=importlib``,
or a file whose folder has left ``sys.path``. What lives there must go by value.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from procession.hints import Any
from procession.system import FOLDER, cpython

MAIN = frozenset({"__main__", "__mp_main__"})
"""Names under which a process knows its own main module; a worker's is another one."""

CYTHON = ("_cython_", "cython_runtime")
"""What Cython puts into ``sys.modules`` in every process: no program's functions and classes."""


class _Answers:
    """What was found for one ``sys.path``.

    Threads ask at the same time, so nothing is noted before it has been found. What a thread finds
    for a path that is no longer in force goes into answers that are not read any more.
    """

    def __init__(self, path: list[str]) -> None:
        self.path = path
        self.known: dict[str, bool] = {}
        self.specs: dict[str, ModuleSpec | None] = {}
        self.seen: frozenset[str] = frozenset()
        self.marks: tuple[Any, tuple[bytes, ...]] = None, ()


_answers = _Answers([])
_generation = 0


def latest_generation() -> int:
    """A number that is another one once a module was seen to be imported anew."""
    return _generation


def begin_generation() -> int:
    """Note that one was; gives the new number. One thread at a time may call it."""
    global _generation
    _generation += 1
    return _generation


def importable(name: Any) -> bool:
    """Whether a worker with the same ``sys.path`` gets this very module by importing `name`."""
    if not isinstance(name, str) or name in MAIN:
        return False
    answer = _answers.known.get(name)
    return _judge(name, _answers) if answer is None else answer


def _judge(name: str, answers: _Answers) -> bool:
    if name.partition(".")[0] in sys.stdlib_module_names:
        answer = True
    else:
        module = sys.modules.get(name)
        if module is None:
            return False  # it may be imported yet
        answer = _is_importable(name, module, answers)
    answers.known[name] = answer
    return answer


def refresh() -> None:
    """Forget what was found if ``sys.path`` has changed since."""
    global _answers
    if sys.path != _answers.path:
        _answers = _Answers(list(sys.path))


def _is_importable(name: str, module: Any, answers: _Answers) -> bool:
    file = getattr(module, "__file__", None)
    parent = name.rpartition(".")[0]
    if file is None and not getattr(module, "__path__", None):
        # Built by hand or by its package (`six.moves`, parts of a C extension): the package will
        # build it again. Without a package nothing will.
        return importable(parent) if parent else _locate(name, answers) is not None
    spec = _locate(name, answers)
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


def _locate(name: str, answers: _Answers) -> ModuleSpec | None:
    """What a fresh interpreter would find under `name`, without importing anything."""
    if name not in answers.specs:
        answers.specs[name] = _search(name, answers)
    return answers.specs[name]


def _search(name: str, answers: _Answers) -> ModuleSpec | None:
    parent = name.rpartition(".")[0]
    places: list[Any] = [None]
    if parent:
        package = _locate(parent, answers)
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

    The C pickler writes plain functions and classes by name without asking. So their modules are
    looked for in what it wrote. New modules are judged when ``sys.modules`` has changed: what is
    imported comes last in it.
    """
    answers = _answers
    now = len(sys.modules), cpython.newest_module()
    judged, marks = answers.marks
    if judged != now:
        marks = tuple(_mark(name) for name in _suspects(answers))
        answers.marks = now, marks
    return marks


def _suspects(answers: _Answers) -> list[str]:
    new = sys.modules.keys() - answers.seen
    # Workers have Procession, also if it is not installed but on a path of its own.
    usual = tuple({os.path.dirname(os.__file__), FOLDER + os.sep, *_site_folders()})
    for name in new:
        module = sys.modules.get(name)
        if not isinstance(module, ModuleType) or name in MAIN or name.startswith(CYTHON):
            continue
        file = module.__dict__.get("__file__")
        if not (isinstance(file, str) and file.startswith(usual)) and name not in answers.known:
            _judge(name, answers)
    answers.seen |= new
    return ["__main__", *(name for name, known in list(answers.known.items()) if not known)]


def _site_folders() -> list[str]:
    return [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]


def _mark(name: str) -> bytes:
    text = name.encode("utf-8", "surrogatepass")
    # SHORT_BINUNICODE, length, name, MEMOIZE: the longer the mark, the faster the search.
    return b"\x8c" + bytes([len(text)]) + text + b"\x94" if len(text) < 256 else text
