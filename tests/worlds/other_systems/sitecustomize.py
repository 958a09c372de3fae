"""Makes an interpreter on Linux look to a program as one on another system does.

Put this folder on PYTHONPATH, and name the system in ``OTHER_SYSTEM``: ``windows`` or ``macos``.
All interpreters that the program starts, workers included, look like it, too.

Procession, and the program itself, get modules of the standard library without what the other
system lacks (`missing.txt`), or none at all. They see its name in `sys.platform` and `os.name`, and
find no /proc, /sys and /dev/shm. The standard library and other packages keep what they have: on
the other system they would do the same by its own means.
"""

from __future__ import annotations

import builtins
import os
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any

SYSTEM = os.environ["OTHER_SYSTEM"]
HERE = os.path.dirname(os.path.abspath(__file__))
OTHERS = (os.path.dirname(os.__file__) + os.sep, f"{os.sep}site-packages{os.sep}", "<frozen ")
"""Where the files of those are who keep what they have."""

LINUX_FOLDERS = ("/proc", "/sys", "/dev/shm")

WITHOUT_POSIX = frozenset(
    {
        *("fcntl", "resource", "grp", "pwd", "termios", "tty", "pty", "syslog"),
        *("readline", "curses", "crypt", "nis", "spwd", "_posixsubprocess", "_posixshmem"),
    }
)
ABSENT = WITHOUT_POSIX if SYSTEM == "windows" else frozenset({"spwd"})
"""Modules that there are not."""

BROKEN = {
    f"multiprocessing.popen_{each}"
    for each in ("fork", "spawn_posix", "forkserver")
    if SYSTEM == "windows"
}


def missing() -> dict[str, frozenset[str]]:
    """The names that each module lacks."""
    text = ""
    with open(os.path.join(HERE, "missing.txt"), encoding="ascii") as file:
        for line in file:
            text += line.rstrip("\n") if line.startswith(" ") else f"\n{line.rstrip()}"
    found: dict[str, frozenset[str]] = {}
    for line in text.splitlines():
        head, _, names = line.partition(": ")
        system, _, module = head.partition(" ")
        if system == SYSTEM:
            found[module] = frozenset(names.split())
    same = {"_socket": "socket", "_signal": "signal", "posix": "os"}  # on Windows that is `nt`
    return {**found, **{name: found[of] for name, of in same.items()}}


MISSING = missing()


def is_program(frame: FrameType | None) -> bool:
    """Whether code of the program or of Procession runs there."""
    return frame is not None and not any(each in frame.f_code.co_filename for each in OTHERS)


def reaches_linux(path: Any) -> bool:
    """Whether a path lies where only Linux has something."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    return any(text == each or text.startswith(f"{each}/") for each in LINUX_FOLDERS)


class View(ModuleType):
    """A module as the program sees it; what is set in it is set in the module."""

    def __init__(self, real: ModuleType, changed: dict[str, Any]) -> None:
        super().__init__(real.__name__)
        known[id(self)] = real, changed, MISSING.get(real.__name__, frozenset())

    def __getattribute__(self, name: str) -> Any:
        real, changed, lacks = known[id(self)]
        if name == "__dict__":
            has = {each: value for each, value in vars(real).items() if each not in lacks}
            return {**has, **changed}
        if name in ("__class__", "__reduce_ex__"):
            return object.__getattribute__(self, name)
        if name in lacks:
            raise AttributeError(f"module {real.__name__!r} has no attribute {name!r}")
        return changed[name] if name in changed else getattr(real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(known[id(self)][0], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(known[id(self)][0], name)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return shown, (known[id(self)][0].__name__,)


known: dict[int, tuple[ModuleType, dict[str, Any], frozenset[str]]] = {}
"""What each view shows: a module, what differs, and what it lacks."""


def shown(name: str) -> ModuleType:
    """The view of a module, in the process that a function is sent to."""
    return view(import_module(name))


def without_linux(real: Callable[..., Any]) -> Callable[..., Any]:
    """A function of paths that finds nothing in Linux's folders."""

    def look(path: Any, *args: Any, **kwargs: Any) -> Any:
        if reaches_linux(path):
            raise FileNotFoundError(2, os.strerror(2), path)
        return real(path, *args, **kwargs)

    return look


def changed_os() -> dict[str, Any]:
    """What differs in `os`: its name, and what it finds in Linux's folders."""
    looks = {name: without_linux(getattr(os, name)) for name in ("stat", "lstat", "readlink")}
    looks |= {name: without_linux(getattr(os, name)) for name in ("open", "listdir", "scandir")}
    looks |= {name: without_linux(getattr(os, name)) for name in ("statvfs",)}

    def access(path: Any, *args: Any, **kwargs: Any) -> bool:
        return not reaches_linux(path) and os.access(path, *args, **kwargs)

    name = "nt" if SYSTEM == "windows" else "posix"
    changed = {**looks, "access": access, "name": name, "path": changed_paths()}
    return {name: value for name, value in changed.items() if name not in MISSING["os"]}


def changed_paths() -> ModuleType:
    """`os.path`, for which Linux's folders do not exist."""

    def without(real: Callable[[Any], bool]) -> Callable[[Any], bool]:
        return lambda path: not reaches_linux(path) and real(path)

    names = ("exists", "isdir", "isfile", "islink", "lexists")
    return View(os.path, {name: without(getattr(os.path, name)) for name in names})


def changed_sys() -> dict[str, Any]:
    """What differs in `sys`."""
    return {"platform": {"windows": "win32", "macos": "darwin"}[SYSTEM], "modules": Modules()}


class Modules(MutableMapping[str, ModuleType]):
    """`sys.modules` with what the program sees of each."""

    def __getitem__(self, name: str) -> ModuleType:
        return view(sys.modules[name])

    def __setitem__(self, name: str, module: ModuleType) -> None:
        sys.modules[name] = module

    def __delitem__(self, name: str) -> None:
        del sys.modules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(sys.modules))

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(sys.modules))

    def __len__(self) -> int:
        return len(sys.modules)


def changed_multiprocessing() -> dict[str, Any]:
    """`multiprocessing` on Windows knows one way to start."""
    import multiprocessing

    def get_context(method: str | None = None) -> Any:
        if method in ("fork", "forkserver"):
            raise ValueError(f"cannot find context for {method!r}")
        return multiprocessing.get_context(method or "spawn")

    if SYSTEM != "windows":
        return {}
    return {"get_context": get_context, "get_all_start_methods": lambda: ["spawn"]}


def changed_mmap() -> dict[str, Any]:
    """Maps on Windows know no flags of POSIX."""
    import mmap

    class WindowsMap(mmap.mmap):
        def __new__(
            cls, fileno: int, length: int, tagname: str | None = None, **access: int
        ) -> WindowsMap:
            unknown = set(access) - {"access", "offset"}
            if unknown or not isinstance(tagname, str | None):
                raise TypeError(f"Windows's mmap takes no {unknown or tagname}")
            return super().__new__(cls, fileno, length, **access)

    return {"mmap": WindowsMap} if SYSTEM == "windows" else {}


def changed_fcntl() -> dict[str, Any]:
    """The BSD's `struct flock` has another order."""
    import fcntl
    import struct

    linux, bsd = struct.Struct("hhqqi4x"), struct.Struct("qqihh")

    def ask(fd: int, command: int, given: Any = 0) -> Any:
        if command != fcntl.F_GETLK:
            return fcntl.fcntl(fd, command, given)
        start, length, pid, kind, whence = bsd.unpack(given)
        answer = fcntl.fcntl(fd, command, linux.pack(kind, whence, start, length, pid))
        kind, whence, start, length, pid = linux.unpack(answer)
        return bsd.pack(start, length, pid, kind, whence)

    return {"fcntl": ask} if SYSTEM == "macos" else {}


def changed_ctypes() -> dict[str, Any]:
    """What Procession calls of the Windows API."""
    from types import SimpleNamespace

    def wait(handle: Any, _: int) -> None:
        try:
            while True:
                os.kill(handle.value, 0)
                time.sleep(0.05)
        except OSError:
            pass

    kernel = SimpleNamespace(
        OpenProcess=lambda access, inherits, pid: pid,
        WaitForSingleObject=wait,
        CloseHandle=lambda handle: None,
    )
    return {"windll": SimpleNamespace(kernel32=kernel)} if SYSTEM == "windows" else {}


CHANGED: dict[str, Callable[[], dict[str, Any]]] = {
    "os": changed_os,
    "sys": changed_sys,
    "mmap": changed_mmap,
    "fcntl": changed_fcntl,
    "ctypes": changed_ctypes,
    "multiprocessing": changed_multiprocessing,
}

views: dict[str, ModuleType] = {}
real_import = builtins.__import__


def view(real: ModuleType) -> ModuleType:
    """The module as the program sees it."""
    name = real.__name__
    if name not in CHANGED and name not in MISSING:
        return real
    if name not in views:
        views[name] = View(real, CHANGED.get(name, dict)())
    return views[name]


def imported(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> ModuleType:
    """`__import__`, which gives the program what the other system has."""
    found = real_import(name, globals, locals, fromlist, level)
    asking = sys._getframe().f_back
    if level or asking is None or asking.f_code.co_filename == __file__ or not is_program(asking):
        return found
    if name.partition(".")[0] in ABSENT:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if {name, *(f"{name}.{each}" for each in fromlist or ())} & BROKEN:
        raise AttributeError("module 'os' has no attribute 'WNOHANG'")  # as it begins on Windows
    if fromlist:
        for each in fromlist:
            inner = vars(found).get(each)
            if isinstance(inner, ModuleType) and view(inner) is not inner and found is not inner:
                return View(found, {n: view(getattr(found, n)) for n in fromlist})
    return view(found)


def no_copies() -> None:
    """`procession.system.pristine` copies C modules: it gets what all the program gets."""
    importing: Any = sys.modules["_frozen_importlib"]
    for finder in (importing.BuiltinImporter, sys.modules["_frozen_importlib_external"].PathFinder):
        real = finder.find_spec

        def find(cls: type, name: str, *args: Any, real: Any = real) -> Any:
            if is_program(sys._getframe().f_back) and (name in MISSING or name in ABSENT):
                return None
            return real(name, *args)

        finder.find_spec = classmethod(find)


def refuse(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook: the program opens nothing in Linux's folders."""
    if event in ("open", "os.listdir", "os.scandir") and args and reaches_linux(args[0]):
        frame = sys._getframe().f_back
        while frame is not None and frame.f_code.co_filename.startswith(OTHERS[0]):
            frame = frame.f_back  # of the standard library: who has called it?
        if is_program(frame):
            raise FileNotFoundError(2, os.strerror(2), args[0])


import_module("multiprocessing")
no_copies()
sys.addaudithook(refuse)
builtins.__import__ = imported
