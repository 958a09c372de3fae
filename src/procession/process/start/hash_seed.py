"""Executing interpreters, all of which hash as one: by one seed for a whole program.

`hash` of a str, and so the order of a set, depends on a seed that each interpreter chooses anew,
unless ``PYTHONHASHSEED`` gives it. What runs in several workers is to agree, and tomorrow's call
with today's: so this process chooses one for all interpreters that work for it, also after
`procession.shutdown`. Only what is executed sees the variable. In `os.environ`, here and in
workers, is what the user has put there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import process, util

from procession.hints import Any
from procession.system import cpython_processes
from procession.system.pristine import close_descriptor

VARIABLE = "PYTHONHASHSEED"

_chosen: str | None = None


def hash_seed() -> str:
    """What ``PYTHONHASHSEED`` is to be for an interpreter that works for this program.

    The caller's own seed, if it has a fixed one; what the user has put into `os.environ` goes
    first. Else one that is chosen once. (`random` is not asked: it may be seeded.)
    """
    global _chosen
    given = _own()
    if given is not None:
        return given
    if _chosen is None:
        _chosen = str(int.from_bytes(os.urandom(4), "big") or 1)
    return _chosen


def agrees() -> bool:
    """Whether this process itself hashes as the interpreters that it executes do."""
    if sys.flags.ignore_environment:
        return False  # neither they nor we have read the variable
    if not sys.flags.hash_randomization:
        return hash_seed() == "0"
    started = _at_start()
    return started is not None and started == hash_seed()


def _own() -> str | None:
    given = os.environ.get(VARIABLE, "")
    if given.isdecimal():
        return given
    if not sys.flags.hash_randomization:
        return "0"
    return _at_start()


def _at_start() -> str | None:
    """The fixed seed that this process was started with, though `os.environ` may have changed."""
    if sys.flags.ignore_environment:
        return None
    try:
        with open("/proc/self/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return _imported
    prefix = VARIABLE.encode() + b"="
    found = next((each[len(prefix) :] for each in variables if each.startswith(prefix)), b"")
    return found.decode() if found.isdigit() else None


_imported = os.environ.get(VARIABLE) if os.environ.get(VARIABLE, "").isdecimal() else None


def more_flags() -> list[str]:
    """The ``-X`` options of this interpreter that `multiprocessing` does not pass on."""
    known = {each.partition("=")[0] for each in cpython_processes.interpreter_arguments()}
    options: list[str] = []
    for name, value in sys._xoptions.items():
        if name not in known:
            options += ["-X", name if value is True else f"{name}={value}"]
    return options


def sent_path() -> list[str]:
    """`sys.path` as another process is to have it: ``""`` is where this one began."""
    origin: str | None = getattr(process, "ORIGINAL_DIR", None)  # none if that was removed
    entries = map(os.fsdecode, sys.path)
    return [each or origin or each for each in entries]


def execute(
    path: Any,
    arguments: Sequence[Any],
    descriptors: Sequence[int],
    environment: Mapping[str, str] | None = None,
) -> int:
    """Execute an interpreter, as `multiprocessing.util.spawnv_passfds` does; gives its process id.

    Args:
        path: The interpreter.
        arguments: Its arguments, itself the first one.
        descriptors: What it is to have open.
        environment: Its variables, but for the seed; this process's if left out.

    Raises:
        OSError: It cannot be executed.
    """
    if not cpython_processes.can_fork_exec():
        pid: int = util.spawnv_passfds(path, arguments, descriptors)
        return pid
    variables = {**(os.environ if environment is None else environment), VARIABLE: hash_seed()}
    encoded = [os.fsencode(f"{name}={value}") for name, value in variables.items()]
    encoded_path = os.fsencode(path)
    given = [os.fsencode(each) for each in arguments]
    says, end = os.pipe()
    kept = tuple(sorted({*map(int, descriptors), end}))
    try:
        found = cpython_processes.fork_exec(encoded_path, given, encoded, kept, (says, end))
        close_descriptor(end)
        end = -1
        _raise(os.read(says, 4096), found, path)  # empty as soon as it is executed
        return found
    finally:
        close_descriptor(says)
        if end >= 0:
            close_descriptor(end)


def _raise(said: bytes, pid: int, path: Any) -> None:
    """What the new process says if it could not execute: type, errno in hexadecimal, message."""
    if not said:
        return
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
    number = int(said.split(b":")[1] or b"0", 16)
    raise OSError(number, os.strerror(number), os.fsdecode(path))


class Util:
    """Stands in for `multiprocessing.util` in a launcher."""

    def __getattr__(self, name: str) -> Any:
        return getattr(util, name)

    @staticmethod
    def spawnv_passfds(path: Any, arguments: Sequence[Any], descriptors: Sequence[int]) -> int:
        """Execute an interpreter with our seed."""
        return execute(path, arguments, descriptors)
