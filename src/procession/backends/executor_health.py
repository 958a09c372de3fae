"""What an executor does not tell of itself: whether its workers are there, died, or have ended.

Executors that Procession has made end here, with their workers and pipes. Of one that the user
gives as ``backend=`` it is found out whether it can work in this process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor
from multiprocessing import active_children, connection
from typing import Any
from weakref import WeakKeyDictionary

from procession.errors import PoolClosed
from procession.process.io.reactor import reactor
from procession.system import after_fork, cpython_processes, lifeline
from procession.system.posix import OWN_WORKERS
from procession.system.pristine import close_descriptor, threading, time

_REAPING_SECONDS = 0.2
"""How long to wait for the exit code of a worker that ends. Measured: below 1 ms."""

_WATCH_SECONDS = 1.0
"""How often to look for workers that have died. An executor itself sees most deaths at once."""


class Ending:
    """Shuts an executor down, waits for its workers, and lets the lifeline go after the last."""

    def __init__(
        self,
        executor: Executor,
        processes: Any,
        held: bool,
        name: str,
        *,
        kill: bool,
        lost: Callable[[], object] = bool,
    ) -> None:
        self._executor: Executor | None = executor
        self._table = processes
        self._processes = listed(processes)
        self._kill = kill
        self._held = held
        self._name = name
        self._lost = lost
        # No daemon: the interpreter would end it amid what gives semaphores back.
        self._thread = threading.Thread(target=self, name="procession-ending")

    def start(self) -> None:
        """Do it in a thread; where none can be started any more, only kill what is to be killed."""
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending, which ends the executor as well
            if self._kill:
                self._each(self._end_now)

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
            self._each(self._end_now)
            if self._held and any(map(untouchable, self._processes)):
                self._held = False
                lifeline.release()  # the kernel may do what we may not
                self._each(_reap)
            self._cut_short(executor)
            how = {"kill_workers": True} if self._name == "loky" else {"cancel_futures": True}
        if self._name == "loky":
            executor.shutdown(wait=True, **how)
        else:
            self._shut_down(executor, how)
        self._lost()
        self._each(_reap)
        while self._processes:
            _close(self._processes.pop())
        active_children()  # forgets those that a broken executor has left there, with semaphores
        if self._held:
            lifeline.release()  # not before: it would kill workers that still run

    def _shut_down(self, executor: Executor, how: dict[str, Any]) -> None:
        """Wait for the standard library's, and for no worker that it has forgotten to end.

        When it breaks while a call starts a worker, it waits for that one and never ends it
        (CPython 3.11: `terminate_broken` holds no lock). It waits for one that ignores SIGTERM too.
        """
        threads = cpython_processes.executor_threads(executor)
        executor.shutdown(wait=False, **how)  # from here on it starts none
        for thread in threads:
            while thread.is_alive():
                thread.join(_REAPING_SECONDS)
                if self._kill or cpython_processes.is_broken(executor):
                    self._see_all()
                    self._each(self._end_now)
        self._see_all()

    def _see_all(self) -> None:
        """Take in the workers that it has started since."""
        known = {id(each) for each in self._processes}
        self._processes += [each for each in listed(self._table) if id(each) not in known]

    def _cut_short(self, executor: Executor) -> None:
        """Let the reader of a message that a killed worker had begun see its end.

        The executor's thread would wait for the rest for ever: this process holds the writing end
        of the workers' queue as well, though it never writes. A thread that does not wait ends by
        itself, as all workers are dead, and loky's closes that queue.
        """
        writer = cpython_processes.result_writer(executor)
        for thread in cpython_processes.executor_threads(executor):
            thread.join(_REAPING_SECONDS)
            if thread.is_alive() and writer is not None:
                cut_off(writer)

    def _each(self, do: Callable[[Any], None]) -> None:
        for process in self._processes:
            try:
                do(process)
            except Exception:
                continue  # it has ended by itself, or was closed

    def _end_now(self, process: Any) -> None:
        if self._name == "loky":  # its processes have no `kill`
            from loky.backend.utils import kill_process_tree

            kill_process_tree(process)
        else:
            process.kill()


def cut_off(writer: Any) -> None:
    """Have who reads from a pipe see its end, and leave the closing of this end to its owner.

    Two threads that close one connection may close a descriptor that a third has just opened.
    """
    if os.name != "posix":
        writer.close()
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        if not writer.closed:
            os.dup2(nothing, writer.fileno(), inheritable=False)
    except OSError:
        pass  # it was closed just now
    finally:
        close_descriptor(nothing)


def _reap(process: Any) -> None:
    process.join(_REAPING_SECONDS)


class Watch:
    """Looks whether an executor's own thread waits for ever for a worker that has died.

    It does when the worker was killed while it sent a long answer: it waits for the rest of it.
    Neither the standard library nor loky sees that death by itself.

    Args:
        look: Gives the executor that has something to do and its workers, or `None`.
        rescue: Is given an executor that waits so.
    """

    def __init__(
        self,
        look: Callable[[], tuple[Executor, Any] | None],
        rescue: Callable[[Executor], None],
    ) -> None:
        self._look = look
        self._rescue = rescue
        self._dead: list[Any] = []

    def go_on(self) -> None:
        """Look a second later, and each second while there is something to do."""
        reactor.call_later(_WATCH_SECONDS, self._tick)

    def _tick(self) -> None:
        found = self._look()
        if found is None:
            return
        executor, processes = found
        dead = [each for each in listed(processes) if _has_ended(each)]
        if any(each in self._dead and _exit_code(each) not in (None, 0) for each in dead):
            self._rescue(executor)  # one that can would have seen it by now
            dead = []
        self._dead = dead
        self.go_on()


def _has_ended(process: Any) -> bool:
    """Without asking for its exit code, which only one can have from a fork server."""
    try:
        return bool(connection.wait([process.sentinel], 0))
    except (OSError, ValueError):  # just closed
        return False


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
    popen: Any = cpython_processes.process_pipes(process)
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
    """The exit code of the worker that broke the executor: the one that has ended by now.

    Workers that were not needed end with 0. So that is believed if no other one ends.
    """
    deadline, ended = time.monotonic() + _REAPING_SECONDS, None
    while time.monotonic() < deadline:
        for process in listed(processes):
            code = _exit_code(process)
            if code:
                return code
            ended = code if ended is None else ended
        time.sleep(0.001)  # its pipes close a moment before its exit code can be had
    return ended


def _exit_code(process: Any) -> int | None:
    try:
        code: int | None = process.exitcode
    except Exception:
        return None  # just closed
    return code


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
    threads = cpython_processes.executor_threads(executor)
    return bool(threads) and not any(thread.is_alive() for thread in threads)
