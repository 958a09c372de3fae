"""Starting a worker from a server that is a copy of this process, without `multiprocessing`.

To import that takes 15 ms: here, while the items stand still, and in the server, while nothing else
can go on. So both do without it. Once a worker imports it, it is a process of it all the same
(`before_multiprocessing`). Once the program has it, workers are started by `launchers`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from io import BytesIO
from itertools import count
from weakref import finalize

from procession.hints import TYPE_CHECKING, Any
from procession.process.start.hash_seed import sent_path
from procession.process.start.starting import Descriptors, Inherited, quietly
from procession.system import before_multiprocessing, cpython, owned_descriptors
from procession.system.cpython import pickle
from procession.system.identity import working_folder

if TYPE_CHECKING:
    from procession.process.forkserver.client import Begun

__all__ = ["KIND", "ServedProcess", "run", "start_copied"]

KIND = b"\1"
"""Says in a request that what comes is written as here."""

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
    from procession.process.forkserver import client

    with client.in_use(clean=False) as server:
        if not isinstance(server, client.CopyServer):
            return None
        packed, descriptors = BytesIO(), list[int]()
        pickle.dump(_told(name), packed)
        _Pickler(packed, descriptors).dump((target, args))
        process = ServedProcess(server.begin(descriptors, packed.getbuffer(), KIND))
        server.started.add(process)
        return process


def _told(name: str) -> tuple[Any, ...]:
    """What a process is told of this one."""
    own = before_multiprocessing.key(), before_multiprocessing.origin()
    told = before_multiprocessing.Told(name, next(_numbers), os.getpid(), *own)
    return told, sent_path(), sys.argv, working_folder()


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

    def __init__(self, begun: Begun) -> None:
        self.returncode: int | None = None
        self.sentinel = begun.sentinel
        self.finalizer = finalize(self, _close, os.getpid(), begun.alive, begun.sentinel)
        self.finalizer.atexit = False
        self.pid = begun.pid()

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        if self.returncode is None:
            from procession.process.forkserver import client

            self.returncode = client.exit_code(self.sentinel, wait=False)
        return self.returncode


def _close(process: int, *descriptors: int) -> None:
    if os.getpid() == process:
        owned_descriptors.close(*descriptors)


# -- in the worker ---------------------------------------------------------------------------


def run(data: int, tracker: int) -> int:
    """Run what is read from a descriptor; gives the exit code.

    Args:
        data: The descriptor; its other end stays open for as long as the program lives.
        tracker: Where the resource tracker is told things.
    """
    sentinel = os.dup(data)
    with open(data, "rb") as pipe:
        told, sys.path[:], sys.argv[:], folder = pickle.load(pipe)
        before_multiprocessing.become(told, sentinel, tracker)
        if folder:
            os.chdir(folder)
        target, args = pickle.load(pipe)
    code = 1
    try:
        target(*args)
        code = 0
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:
        import traceback

        sys.stderr.write(f"Process {told.name}:\n")
        traceback.print_exc()
    finally:
        cpython.end_threads()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
    return code


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    sys.stderr.write(f"{error.code}\n")
    return 1
