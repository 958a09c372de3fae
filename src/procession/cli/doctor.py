"""``procession doctor``: what this machine offers, and whether a call works on each backend."""

from __future__ import annotations

import math
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from typing import Any

from procession.cli.report import Finding, Report
from procession.system.posix import MISSING, OWN_WORKERS, default_backend, os

_PATIENCE = 60
"""Seconds that one call may take, the start of its workers included."""

_FEW = 256
_LITTLE = 256 * 2**20
_BACKENDS = ("process", "loky", "stdlib", "thread", "serial")
_LIBRARIES = ("cloudpickle", "wrapt", "loky", "numpy", "threadpoolctl", "tqdm", "joblib")
_CLUSTERS = {"distributed": "dask", "ray": "ray"}
"""The libraries of the engines beyond one machine, and what the backends are called."""


def doctor(*, json: bool = False) -> int:
    """Look at this machine and print what was found.

    Args:
        json: Print JSON instead of text.

    Returns:
        The exit code: 1 if something is wrong.
    """
    from procession import __version__

    report = Report(
        f"procession {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    for section, look in _LOOKS:
        for finding in look():
            report.add(section, finding)
    return report.show(as_json=json)


# -- the machine -----------------------------------------------------------------------------------


def _processors() -> Iterator[Finding]:
    from procession.system.resources import cpu_quota, usable_cpus

    usable, there = usable_cpus(), os.cpu_count() or 1
    quota = cpu_quota()
    paid = "no quota" if math.isinf(quota) else f"a quota of {quota:g}"
    text = f"{usable} usable of {there}, {paid}"
    if usable == 1:
        yield Finding(
            "usable CPUs",
            "warning",
            text,
            "Maps run as fast as a loop here. Give the container or the process more CPUs.",
        )
    else:
        yield Finding("usable CPUs", "ok", text)
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        busy = load > usable
        mend = "Other programs use the CPUs too: expect less than the number says." if busy else ""
        yield Finding("load", "note" if busy else "ok", f"{load:.1f} in the last minute", mend)


def _memory() -> Iterator[Finding]:
    from procession.system.resources import meminfo

    free = meminfo("MemAvailable")
    if free is not None:
        yield Finding(
            "memory",
            "ok" if free > _LITTLE else "warning",
            f"{free / 1e9:.1f} GB available",
            "" if free > _LITTLE else "Give workers little to hold: fewer workers, smaller chunks.",
        )
    try:
        room = os.statvfs("/dev/shm")
    except (AttributeError, OSError):
        yield Finding("/dev/shm", "note", "there is none", _NO_SHM)
        return
    size = room.f_bavail * room.f_frsize
    yield Finding(
        "/dev/shm",
        "ok" if size > _LITTLE else "warning",
        f"{size / 1e6:.0f} MB free",
        "" if size > _LITTLE else "loky and multiprocessing need it. " + _NO_SHM,
    )


_NO_SHM = "Procession's own workers do without it; in Docker, --shm-size=1g makes it larger."


def _limits() -> Iterator[Finding]:
    try:
        from procession.system.posix import resource
    except ImportError:
        yield Finding("limits", "note", "this system has none that a process can ask for")
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield _limit(
        "open files",
        soft,
        f"(can be raised to {_number(hard)})",
        "Each worker takes about eight: write 'ulimit -n 4096' before the program.",
    )
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    yield _limit(
        "processes",
        soft,
        "for this user",
        "Threads count too. Raise it with 'ulimit -u' or in the container's settings.",
    )


def _limit(name: str, limit: int, more: str, mend: str) -> Finding:
    text = f"at most {_number(limit)} {more}"
    if 0 <= limit < _FEW:
        return Finding(name, "warning", text, mend)
    return Finding(name, "ok", text)


def _number(limit: int) -> str:
    return "any number" if limit < 0 or limit > 2**40 else str(limit)


def _start_methods() -> Iterator[Finding]:
    from procession.process.start.start_methods import method_of

    methods = ", ".join(multiprocessing.get_all_start_methods())
    yield Finding("start methods", "ok", f"{methods}; without context=: {method_of(None)}")
    yield Finding("default backend", "ok", f"{default_backend()} ({sys.platform})")
    given = sorted(name for name in os.environ if name.startswith("PROCESSION_"))
    if given:
        yield _overrides(given)


def _overrides(given: list[str]) -> Finding:
    """The variables by which an operator overrides what programs say."""
    from procession.configuration import resolve
    from procession.errors import OptionError

    try:
        resolve({})
    except OptionError as error:
        return Finding("environment", "wrong", str(error))
    said = ", ".join(f"{name}={os.environ[name]}" for name in given)
    return Finding("environment", "note", f"{said}: it overrides what programs say")


def _libraries() -> Iterator[Finding]:
    for name in (*_LIBRARIES, *_CLUSTERS):
        try:
            yield Finding(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            if name in _CLUSTERS:
                extra = _CLUSTERS[name]
                mend = f"For backend={extra!r}: pip install 'procession[{extra}]'"
                yield Finding(name, "note", "not installed", mend)
                continue
            needed = name in ("cloudpickle", "wrapt", "loky")
            state: Any = "wrong" if needed else "note"
            yield Finding(name, state, "not installed", f"pip install {name}" if needed else "")


# -- one call on each backend ----------------------------------------------------------------------


def _calls() -> Iterator[Finding]:
    from procession import shutdown

    for backend in _BACKENDS:
        yield _timed(backend, partial(_one_call, backend))
    yield _timed("isolated", _one_isolated)
    shutdown()


def _one_call(backend: str) -> int:
    from procession import parallel

    serial = backend == "serial"
    call = parallel(backend=backend, workers=1)(_process)
    return call.map([0])[0] if serial else call.submit(0).result(_PATIENCE)


def _one_isolated() -> int:
    from procession import isolated

    return isolated(timeout=_PATIENCE)(_process)(0)


def _process(_: int) -> int:
    return os.getpid()


def _timed(name: str, call: Callable[[], int]) -> Finding:
    began = time.perf_counter()
    if name in ("process", "isolated") and not OWN_WORKERS:
        return Finding(name, "note", f"not on this platform, which lacks {', '.join(MISSING)}")
    try:
        where = call()
    except Exception as error:
        first = str(error).partition("\n")[0] or type(error).__name__
        return Finding(name, "wrong", f"a call failed: {type(error).__name__}: {first}")
    taken = (time.perf_counter() - began) * 1000
    place = "in this process" if where == os.getpid() else "in a worker"
    return Finding(name, "ok", f"a call {place} took {taken:.0f} ms, its start included")


_LOOKS: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
    ("Processors", _processors),
    ("Memory", _memory),
    ("Limits", _limits),
    ("Start methods", _start_methods),
    ("Libraries", _libraries),
    ("A call on each backend", _calls),
)
