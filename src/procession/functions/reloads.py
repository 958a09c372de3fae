"""Which version of a module is loaded: told by its import spec, and by its source file.

A module that is imported anew (`importlib.reload`, IPython's autoreload, deleted and imported
again) gets a new spec, and comes last in ``sys.modules``. So whether anything was imported anew
since the last look can be asked for each call. Workers that have imported older code are then not
used for new calls: pools belong to a `generation`.

What runs is what the caller has. A file that was edited and not reloaded is new code for a worker
that starts now, and old code here. So the versions of both sides are compared when a worker looks
for a function by its name.

Workers do not have the program's import hooks: typeguard's, beartype's, its own finder. A loader
that changes code as it loads it makes other functions than a worker gets, which imports the module
in the usual way. So the loader's type is part of the version.
"""

from __future__ import annotations

import os
import sys

from procession.hints import Any
from procession.pickling import importable
from procession.system import NamedTuple, after_fork, cpython


class Version(NamedTuple):
    """What a process has loaded a module from.

    Attributes:
        process: The caller.
        generation: Its `generation`.
        reloaded: The generation that began when it last imported the module anew; 0 if never.
        stamp: The source file's time of change and size when it was loaded.
        checksum: Of its contents then; `None` if that was never read.
        loader: The type of the module's loader; empty for Python's own.
        changed: Whether that loader changes the code.
        rewritten: Whether asserts were rewritten (pytest).
    """

    process: tuple[str, int]
    generation: int
    reloaded: int = 0
    stamp: tuple[int, int] | None = None
    checksum: int | None = None
    loader: str = ""
    changed: bool = False
    rewritten: bool = False


class _Source:
    """The source of a module when it was loaded."""

    __slots__ = ("checksum", "spec", "stamp")

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.stamp = _stamp(spec)
        self.checksum: int | None = None


_STANDARD = sys.stdlib_module_names
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_USUAL = ("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", "_pytest")
"""Where Python's own loaders are; and pytest's, which rewrites nothing but ``assert``."""
_CHANGING = ("source_to_code", "get_code")
_PATCHER = "IPython.extensions.autoreload"
"""Where it is loaded, files are looked at for each call: there is a person who edits them."""

_FAMILY = os.urandom(8).hex()

_lock = after_fork.rlock()
_specs: dict[str, Any] = {}
_sources: dict[str, _Source] = {}
_reloaded: dict[str, int] = {}
_last: tuple[int, Any, dict[str, Any], Any] = 0, None, {}, None
_patches = False

_first: dict[tuple[str, int], int] = {}
"""In a worker: the generation of the first function that each caller has sent."""

_loaded: dict[tuple[tuple[str, int], str], int] = {}
"""In a worker: the caller's generation in which a module was imported for it."""


def generation() -> int:
    """A number that changes when a module was imported anew."""
    modules = sys.modules
    count, module, space, spec = _last
    try:
        last = modules.get(next(reversed(modules)))
    except RuntimeError:
        last = None  # another thread imports
    # Not ==: specs of the same module are equal.
    if last is not module or space.get("__spec__") is not spec or len(modules) != count:
        _look()
    if _patches:
        _look_at_files()
    return importable.latest_generation()


def _space_of(module: Any) -> dict[str, Any]:
    """What a module holds, without waking up one that loads itself lazily."""
    try:
        space: dict[str, Any] = object.__getattribute__(module, "__dict__")
        return space
    except AttributeError:
        return {}  # not everything in sys.modules is a module


def _spec_of(module: Any) -> Any:
    return _space_of(module).get("__spec__")


def _look() -> None:
    global _last, _patches
    with _lock:
        module = sys.modules.get(cpython.newest_module())
        space = _space_of(module)
        last = len(sys.modules), module, space, space.get("__spec__")
        _patches = _PATCHER in sys.modules
        modules: list[tuple[str, Any]] = list(dict(sys.modules).items())
        again: list[str] = []
        for name, module in modules:
            spec, before = _spec_of(module), _specs.get(name)
            if spec is None or spec is before:
                continue
            if before is not None and name.partition(".")[0] not in _STANDARD:
                again.append(name)
            _specs[name] = spec
            if _patches and _may_be_edited(spec):
                note(name)
        if again:
            _began_anew(again)
        _last = last


def _may_be_edited(spec: Any) -> bool:
    name: str = spec.name.partition(".")[0]
    return name not in _STANDARD and not _INSTALLED.intersection(str(spec.origin).split(os.sep))


def _began_anew(names: list[str]) -> None:
    _reloaded.update(dict.fromkeys(names, importable.begin_generation()))


def _look_at_files() -> None:
    """Find modules that were edited and patched in place, where something is known to do that."""
    for name, source in list(_sources.items()):
        if source.stamp is not None and _stamp(source.spec) != source.stamp:
            _patched(name, source)


def _patched(name: str, source: _Source) -> _Source:
    """The source of a module whose file has changed: the new one, if that is what is loaded."""
    module = sys.modules.get(name)
    now = _Source(source.spec)
    try:
        with open(source.spec.origin, "rb") as file:
            text = file.read()
    except OSError:
        return source
    from procession.functions.code_digests import agrees

    if _spec_of(module) is not source.spec or not agrees(module, text):
        return source
    with _lock:
        if _sources.get(name) is source:
            _sources[name] = now
            _began_anew([name])
    return _sources[name]


def note(name: Any) -> _Source | None:
    """Remember the source of a module that is being loaded, or has just been."""
    spec = _spec_of(sys.modules.get(name))
    if spec is None:
        return None
    known = _sources.get(name)
    if known is None or known.spec is not spec:
        known = _sources[name] = _Source(spec)
    return known


def version(name: str) -> Version:
    """The version of a module that is loaded here."""
    generation()
    source = note(name)
    stamp = checksum = None
    if source is not None and source.stamp is not None:
        if _stamp(source.spec) != source.stamp:
            source = _patched(name, source)
        elif source.checksum is None:
            source.checksum = _checksum(source.spec)
        stamp, checksum = source.stamp, source.checksum
    return Version(
        (_FAMILY, os.getpid()),
        importable.latest_generation(),
        _reloaded.get(name, 0),
        stamp,
        checksum,
        *_loader_of(name),
        rewrites(name),
    )


def load(name: str, theirs: Version) -> None:
    """In a worker: import a module for a caller, and remember when that was."""
    _first.setdefault(theirs.process, theirs.generation)
    if name not in sys.modules:
        __import__(name)
        _loaded[theirs.process, name] = theirs.generation
        note(name)


def stale(name: str, theirs: Version) -> str:
    """Why the module that was loaded here (see `load`) is not the caller's; nothing if it is."""
    if theirs.process == (_FAMILY, os.getpid()):
        return ""
    since = _loaded.get((theirs.process, name), _first.get(theirs.process, 0))
    if theirs.reloaded > since:
        return "It was reloaded in the caller after this worker had imported it."
    ours = version(name)
    if ours.stamp is None or theirs.stamp is None or ours.stamp == theirs.stamp:
        return ""
    if ours.checksum is not None and ours.checksum == theirs.checksum:
        return ""
    return "Its file was edited after the caller had imported it."


def _stamp(spec: Any) -> tuple[int, int] | None:
    if not getattr(spec, "has_location", False):
        return None
    try:
        found = os.stat(spec.origin)
    except (OSError, TypeError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size


def _checksum(spec: Any) -> int | None:
    from binascii import crc32

    try:
        with open(spec.origin, "rb") as file:
            return crc32(file.read())
    except OSError:
        return None


# -- import hooks ------------------------------------------------------------------------------


def _loader(name: str) -> Any:
    return getattr(_spec_of(sys.modules.get(name)), "loader", None)


def _loader_of(name: str) -> tuple[str, bool]:
    """The type of a module's loader, empty for Python's own; and whether it changes the code."""
    loader = _loader(name)
    cls: Any = loader if isinstance(loader, type) else type(loader)
    if loader is None or cls.__module__.partition(".")[0] in _USUAL:
        return "", False
    changes = any(
        method in base.__dict__
        for base in cls.__mro__
        for method in _CHANGING
        if base.__module__.partition(".")[0] not in _USUAL
    )
    return f"{cls.__module__}.{cls.__qualname__}", changes


def rewrites(name: str) -> bool:
    """Whether code is not compiled from the source as it stands, by a loader that says no more."""
    return type(_loader(name)).__module__.partition(".")[0] == "_pytest"


def missing_hook(name: str, theirs: Version) -> str:
    """What to do about a loader that this worker does not have; nothing if there is none."""
    if not theirs.loader or theirs.loader == _loader_of(name)[0]:
        return ""
    return (
        f"The program loads {name} through an import hook of its own ({theirs.loader}), which this "
        "worker does not have: install the hook in a function, and pass it as initializer=."
    )
