"""Starting a worker from a server that is a copy of this process, without `multiprocessing` here.

The worker is a process of `multiprocessing` all the same, and is sent what `launchers` sends. The
server has loaded that module; this process takes 15 ms for it, while its items stand still. Once
the program has it, workers are started by `launchers`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from io import BytesIO
from itertools import count
from weakref import finalize

from procession.hints import Any
from procession.process.forkserver import client
from procession.process.start.hash_seed import sent_path
from procession.process.start.starting import Descriptors, Inherited, quietly
from procession.system import before_multiprocessing, owned_descriptors, process_names
from procession.system.cpython import pickle
from procession.system.identity import working_folder

__all__ = ["ServedProcess", "start_copied"]

_numbers = count(1)


def start_copied(
    target: Callable[..., None], args: tuple[Any, ...], name: str
) -> ServedProcess | None:
    """Start a process that runs ``target(*args)``; `None` if it is to be started otherwise.

    Args:
        target: What it runs: importable.
        args: Its arguments; descriptors inside `Descriptors`.
        name: Its name.
    """
    if before_multiprocessing.is_loaded():
        return None
    started: ServedProcess | None = quietly(partial(_start, target, args, name))
    return started


def _start(target: Any, args: tuple[Any, ...], name: str) -> ServedProcess | None:
    with client.in_use(clean=False) as server:
        if not isinstance(server, client.CopyServer):
            return None
        process = ServedProcess(server, _Process(target, args, name))
        server.started.add(process)
        return process


class _Process:
    """Stands for a process object of `multiprocessing`, which it becomes where it is unpickled."""

    def __init__(self, target: Any, args: tuple[Any, ...], name: str) -> None:
        self._given = target, args, name, os.getpid(), next(_numbers), before_multiprocessing.key()

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, self._given


def _made(target: Any, args: tuple[Any, ...], name: str, parent: int, number: int, key: Any) -> Any:
    made = process_names.context_of("forkserver").Process(target=target, args=args, name=name)
    # Not a daemon, as the program may be one: a worker may have children of its own.
    process_names.set_process_key(made, made.authkey.__class__(key), daemon=False)
    process_names.set_origin(made, parent, number)
    return made


def _told(name: str) -> dict[str, Any]:
    """What a process is told of this one, as `multiprocessing.spawn` has it."""
    told: dict[str, Any] = {
        "name": name,
        "log_to_stderr": False,
        "authkey": before_multiprocessing.key(),
        "sys_path": sent_path(),
        "sys_argv": sys.argv,
        "orig_dir": before_multiprocessing.origin(),
        "start_method": "forkserver",
    }
    folder = working_folder()
    return {**told, "dir": folder} if folder else told


class _Pickler(pickle.Pickler):
    """Has descriptors sent along."""

    def __init__(self, file: Any, descriptors: list[int]) -> None:
        super().__init__(file)
        self._descriptors = descriptors

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Descriptors:
            return NotImplemented
        first = len(self._descriptors)
        self._descriptors += value.numbers
        places = range(first, len(self._descriptors))
        return Descriptors, ([Inherited(place) for place in places],)


class ServedProcess:
    """A process that a fork server has started; what a ``Popen`` of `multiprocessing` is.

    Attributes:
        pid: Its number.
        sentinel: Is ready to read when it has ended.
        returncode: Its exit code, once it is known.
        finalizer: Closes what is open for it.
    """

    def __init__(self, server: client.Server, process: _Process) -> None:
        packed, descriptors = BytesIO(), list[int]()
        pickle.dump(_told(process._given[2]), packed)
        _Pickler(packed, descriptors).dump(process)
        self.returncode: int | None = None
        begun = server.begin(descriptors, packed.getbuffer())
        self.sentinel = begun.sentinel
        self.finalizer = finalize(self, _close, os.getpid(), begun.alive, begun.sentinel)
        self.finalizer.atexit = False
        self.pid = begun.pid()

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        if self.returncode is None:
            self.returncode = client.exit_code(self.sentinel, wait=False)
        return self.returncode


def _close(process: int, *descriptors: int) -> None:
    if os.getpid() == process:
        owned_descriptors.close(*descriptors)
