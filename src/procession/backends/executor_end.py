"""What an executor does not tell of itself: whether its workers are there, died, or have ended.

Executors that Procession has made end here, with their workers and pipes. Of one that the user
gives as ``backend=`` it is found out whether it can work in this process.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor
from multiprocessing import active_children
from typing import Any
from weakref import WeakKeyDictionary

from procession.errors import PoolClosed
from procession.system import after_fork, lifeline, process_names
from procession.system.posix import OWN_WORKERS
from procession.system.pristine import threading, time

__all__ = ["Ending", "exit_code", "listed", "refuse_inherited"]

_REAPING_SECONDS = 0.2
"""How long to wait for the exit code of a worker that ends. Measured: below 1 ms."""


class Ending:
    """Shuts an executor down, waits for its workers, and lets the lifeline go after the last."""

    def __init__(
        self, executor: Executor, processes: list[Any], held: bool, name: str, *, kill: bool
    ) -> None:
        self._executor: Executor | None = executor
        self._processes = processes
        self._kill = kill
        self._held = held
        self._name = name
        # No daemon: the interpreter would end it amid what gives semaphores back.
        self._thread = threading.Thread(target=self, name="procession-ending")

    def start(self) -> None:
        """Do it in a thread; where none can be started any more, only kill what is to be killed."""
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending, which ends the executor as well
            if self._kill:
                self._each("kill")

    @property
    def running(self) -> bool:
        """Whether its thread has something to do."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for its thread."""
        if self._thread.is_alive() and self._thread.ident != threading.get_ident():
            self._thread.join()

    def __call__(self) -> None:
        """Do it, and return when all is gone."""
        executor, self._executor = self._executor, None  # its semaphores go with the last reference
        if executor is None:
            return
        how: dict[str, Any] = {}
        if self._kill:
            self._each("kill")
            if self._held and any(map(untouchable, self._processes)):
                self._held = False
                lifeline.release()  # the kernel may do what we may not
                self._each("join", _REAPING_SECONDS)
            self._cut_short(executor)
            how = {"kill_workers": True} if self._name == "loky" else {"cancel_futures": True}
        executor.shutdown(wait=True, **how)
        self._each("join", _REAPING_SECONDS)
        while self._processes:
            _close(self._processes.pop())
        active_children()  # forgets those that a broken executor has left there, with semaphores
        if self._held:
            lifeline.release()  # not before: it would kill workers that still run

    def _cut_short(self, executor: Executor) -> None:
        """Let the reader of a message that a killed worker had begun see its end.

        The standard library's manager thread would wait for the rest for ever: this process holds
        the writing end of the workers' queue as well, though it never writes.
        """
        writer = process_names.result_writer(executor)
        if self._name == "stdlib" and writer is not None:
            writer.close()

    def _each(self, do: str, *args: Any) -> None:
        for process in self._processes:
            try:
                getattr(process, do)(*args)
            except Exception:
                continue  # it has ended by itself, or was closed


def untouchable(process: Any) -> bool:
    """Whether it lives, and belongs to another user, as this process has become one."""
    if not OWN_WORKERS:
        return False  # on Windows signal 0 would be Ctrl-C
    try:
        os.kill(process.pid, 0)
    except PermissionError:
        return True
    except (OSError, TypeError):
        pass
    return False


def _close(process: Any) -> None:
    """Give back its pipes now, not when it happens to be collected."""
    popen: Any = process_names.process_pipes(process)
    try:
        process.close()
    except ValueError:  # it counts as running, as the user's own code has waited for its end
        if hasattr(popen, "close"):
            popen.close()
    except AttributeError:
        pass  # loky's holds none


def listed(processes: Any) -> list[Any]:
    """The worker processes of an executor, which keeps them by pid, and keeps none at its end."""
    return [] if processes is None else list(processes.values())


def exit_code(processes: Any) -> int | None:
    """The exit code of the worker that broke the executor: the one that has ended by now."""
    deadline = time.monotonic() + _REAPING_SECONDS
    while time.monotonic() < deadline:
        for process in listed(processes):
            try:
                code: int | None = process.exitcode
            except Exception:
                continue
            if code not in (None, 0):
                return code
        time.sleep(0.001)  # its pipes close a moment before its exit code can be had
    return None


_users: WeakKeyDictionary[Executor, int] = WeakKeyDictionary()
"""The process that first used each executor."""


def refuse_inherited(executor: Executor) -> None:
    """Refuse an executor whose workers are those of the process that this one was forked from.

    Raises:
        PoolClosed: It is one; no process would run what it is given.
    """
    if _stayed_behind(executor):
        raise PoolClosed(
            f"the executor given as backend= ({type(executor).__name__}) was used before this "
            f"process ({os.getpid()}) was forked, and its workers stayed in the parent. Make a new "
            "one here, after the fork, or write backend='process'."
        )


def _stayed_behind(executor: Executor) -> bool:
    if getattr(executor, "_starts_its_own", False):
        return False  # a `procession.Pool` starts new workers
    if _users.setdefault(executor, os.getpid()) != os.getpid():
        return True
    if not after_fork.in_child:
        return False
    # Other code may have used it; this is how the standard library's and loky's look then.
    threads = process_names.executor_threads(executor)
    return bool(threads) and not any(thread.is_alive() for thread in threads)
