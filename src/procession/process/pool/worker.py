"""One worker process, as its parent sees it."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import ref

from procession.contract import Job
from procession.process.io import messages
from procession.process.io.channel import Message, Receiver, Sender, frame
from procession.process.io.flight_recorder import BlackBox
from procession.process.io.reactor import READ, WRITE, reactor
from procession.process.io.spin_wait import Haste
from procession.system import lifeline, owned_descriptors
from procession.system.lifeline import is_ending, runs
from procession.system.pristine import select, socket, threading, time

if TYPE_CHECKING:
    from procession.process.pool.assignment import Ticket

__all__ = ["Worker"]

_NOW = int(socket.MSG_DONTWAIT)  # as a plain number: an enum's operators are slow

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_WORD_AFTER = 1000
"""Milliseconds to wait for a fork server's word of a death, at most. It takes less than one, unless
the server is stopped."""

_JOBS_CHECKED = 16
"""A worker that was sent so many jobs is told which of them are over. A guess."""


_left: list[int] = []
"""Processes that we could not end: they are waited for when they have ended by themselves."""

_lost: list[Any] = []
"""What may not be given back, as the program has closed its descriptors."""


class Worker:
    """A process, its channel and its black box. Whoever holds it guards its fields by a lock.

    Attributes:
        method: The start method it came by.
        pid: Its process id, and its process group's.
        since: When it began to start, as a profile counts.
        began: When it was started, by the monotonic clock.
        ready: Whether it has said HELLO.
        stopping: Whether it was told to stop, or is being killed.
        ticket: The chunk it runs.
        tasks: How many items it was given.
        deserted: Whether it closed its channel to us, and lived on.
        reason: Why we have ended it though nobody asked for that, as a sentence; or empty.
        untouchable: Whether it belongs to another user, so that we could not end it.
        give_over: Takes it for dead.
        verdict: Why we are killing it: ``"timeout"``, ``"memory"``, ``"cancelled"``; or `None`.
        reading: Held by the thread that reads its channel.
        handed_over: Whether somebody was reading who is to find that others do so now.
        finals: Tell the ends of chunks that were read and not told yet.
        closed: Whether it was given back.
        armed: Whether the reactor was asked to read its channel, as far as is known.
        left: Whether its chunk's replies are left to whoever waits for them (`Pool.sweep`).
        seen: How many chunks it had been given at the last sweep.
    """

    def __init__(self, method: str, popen: Any, sock: socket.socket, box: BlackBox) -> None:
        self.method = method
        self.pid: int = popen.pid
        self.sock = sock
        self.box = box
        self.receiver = Receiver(sock)
        self.haste = Haste(sock.fileno())
        self.reading = threading.Lock()
        self.finals: deque[Callable[[], None]] = deque()
        self.reader: tuple[int, Ticket] | None = None
        self.since = 0.0
        self.began = time.monotonic()
        self.ready = False
        self.stopping = False
        self.dead = False
        self.lost = False
        self.unsent = False
        self.armed = False
        self.left = False
        self.seen = 0
        self.garbled = False
        self.deserted = False
        self.reason = ""
        self.handed_over = False
        self.closed = False
        self.ticket: Ticket | None = None
        self.tasks = 0
        self.idle_since = 0.0
        self.base_memory = 0
        self.verdict: str | None = None
        self.blame: tuple[int | None, float, int] = (None, 0.0, 0)
        self.timers: list[Any] = []
        self.failure: bytes | None = None
        self.failure_to_send: Exception | None = None
        self.untouchable = False
        self.give_over: Callable[[], None] | None = None
        self._suspect = False
        self._popen: Any = popen
        self._sender = Sender(sock)
        self._jobs: dict[int, ref[Job]] = {}
        self._heavy = False  # whether some of them have buffers, which are not to be kept for long
        self._pidfd = self._open_pidfd()
        self.channel = sock.fileno()
        self._reaped: tuple[int | None] | None = None

    # -- descriptors -------------------------------------------------------------------------

    def _open_pidfd(self) -> int | None:
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            with owned_descriptors.forking:
                descriptor = os.pidfd_open(self.pid)
                owned_descriptors.own(descriptor)
            return descriptor
        except OSError:
            return None  # reaped by the user's code already, or an old kernel

    @property
    def death(self) -> int:
        """A descriptor that is ready to read once the process has ended.

        The pidfd, which nothing that the worker started can hold open, and which does not end with
        the fork server. Where there is none, and for a fork server's child, the popen's sentinel.
        """
        if self._pidfd is not None:
            return self._pidfd
        sentinel: int = self._popen.sentinel
        return sentinel

    @property
    def unread(self) -> bool:
        """Whether it has said something that nobody has acted on.

        Asked for beside whoever waits: a poll object serves one thread at a time.
        """
        if self.receiver.fetched:
            return True
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        return bool(poll.poll(0))

    def wait_readable(self, timeout: float | None) -> bool:
        """Wait until something can be read; never loses data, whatever interrupts it."""
        return bool(self.haste.ask(None if timeout is None else max(0.0, timeout * 1000)))

    def fetch(self) -> None:
        """Wait for data and keep it for `read`; never loses any, whatever interrupts it."""
        if self.receiver.within:
            self.wait_readable(None)
            return
        try:
            self.haste.wait(self.receiver.fetch)
        except OSError:
            pass  # `read` says what is wrong

    def tell(self) -> None:
        """Tell the ends that were read; by whoever has read them, or the pool's audit."""
        for final in tuple(self.finals):
            final()

    def undeserted(self) -> bool:
        """Whether its channel can be read: nobody reads it, or who was reading it has gone.

        An exception such as Ctrl-C at the one place where it cannot be caught leaves the lock
        held. To be asked from time to time; the lock is released if twice no thread was found
        that reads. (No frames are kept to know them by: they would make a cycle at each call.)
        """
        if self.reading.acquire(blocking=False):
            self._suspect = False
            self.reading.release()
            return True
        suspect, self._suspect = self._suspect, not self._is_read()
        if not (suspect and self._suspect):
            return False
        self._suspect, self.reader = False, None
        self.reading.release()
        return True

    def _is_read(self) -> bool:
        """Whether some other thread is in a function that reads the channel."""
        me = threading.get_ident()  # the pool's audit, which asks, has this worker at hand, too
        for thread, top in sys._current_frames().items():
            at: FrameType | None = None if thread == me else top
            while at is not None:
                if at.f_code.co_filename.startswith(_HERE) and at.f_locals.get("worker") is self:
                    return True
                at = at.f_back
        return False

    # -- talking -----------------------------------------------------------------------------

    def send_task(self, ticket: Ticket) -> bool:
        """Send a chunk. Whether all of it is sent; else `flush` when the channel takes more."""
        job = ticket.chunk.job
        known = job.key in self._jobs
        over: Sequence[int] = ()
        if not known:
            if len(self._jobs) >= _JOBS_CHECKED or self._heavy:
                over = [key for key, each in self._jobs.items() if each() is None]
                for key in over:
                    del self._jobs[key]
                if len(self._jobs) >= 3 * _JOBS_CHECKED:
                    # The worker's own memory of jobs is bounded: forget the oldest here first.
                    del self._jobs[next(iter(self._jobs))]
            self._jobs[job.key] = ref(job)
            self._heavy = self._heavy or bool(job.buffers)
        parts = messages.pack_task(job, ticket.chunk.items, not known, over, ticket.ahead)
        return self._sender.send(parts)

    def send(self, *message: Any) -> bool:
        """Send a small message; a worker that is gone is not an error."""
        try:
            return self._sender.send(frame(message))
        except OSError:
            return True

    def forget_over(self) -> None:
        """Have it drop the jobs that are over, and what they hold; for a worker that is idle."""
        over = [key for key, job in list(self._jobs.items()) if job() is None]
        for key in over:
            self._jobs.pop(key, None)
        if over:
            self.send(messages.FORGET, over)

    def flush(self) -> bool:
        """Send what waits. Whether all is sent, or can never be."""
        try:
            return self._sender.flush()
        except OSError:
            return True

    def read(self) -> list[Message]:
        """What is there now, without waiting.

        Raises:
            EOFError: The worker's end is closed.
        """
        try:
            return self.receiver.read(_NOW)
        except BlockingIOError:
            return []
        except OSError as error:
            raise EOFError from error

    def drain(self) -> list[Message]:
        """The last complete messages of a worker that is dead."""
        rest: list[Message] = []
        try:
            while True:
                rest += self.receiver.read(_NOW)
        except (EOFError, OSError, ValueError):
            return rest

    def arm(self) -> None:
        """Have the reactor read what comes next, and send what is left."""
        self.left = False
        self.armed = True
        reactor.arm(self.channel, READ | WRITE if self.unsent else READ)

    def disarm(self) -> None:
        """Have the reactor leave the channel to the thread that reads it."""
        if self.armed:
            reactor.arm(self.channel, 0)
            self.armed = False

    def condemned(self) -> bool:
        """Whether we are killing it."""
        return self.verdict is not None

    # -- ending ------------------------------------------------------------------------------

    def signal(self, number: int, *, group: bool = True) -> None:
        """Send a signal to the process, and to all that it started."""
        if self._reaped is not None:
            return  # its number may be somebody else's by now
        try:
            os.kill(self.pid, number)
        except PermissionError:
            self._out_of_reach(number)
        except OSError:
            pass
        if group:
            try:
                os.killpg(self.pid, number)
            except OSError:
                pass  # it has not come so far as to lead a group

    def _out_of_reach(self, number: int) -> None:
        """This process has become another user since it was started: do without its death."""
        if number not in (signal.SIGKILL, signal.SIGTERM):
            return
        self.untouchable = True
        if self.give_over is not None and not self.dead:
            reactor.call_soon(self.give_over)

    def kill(self) -> None:
        """End it at once, with all that it started."""
        self.signal(signal.SIGKILL)

    def give_up(self) -> None:
        """Its channel is closed: it is dead, or its own code did that, and it is of no use."""
        self.deserted = not is_ending(self.pid)
        self.kill()

    def reap(self) -> int | None:
        """Take the exit code of a dead process; `None` if somebody else has taken it."""
        if self._reaped is None:
            self._reaped = (self._wait(),)
        return self._reaped[0]

    def _await_word(self) -> None:
        """Its parent is the fork server, which tells its exit code an instant after its death."""
        told = select.poll()
        told.register(self._popen.sentinel, select.POLLIN)
        told.poll(_WORD_AFTER)

    def _wait(self) -> int | None:
        flags = os.WEXITED
        if self.untouchable:
            flags |= os.WNOHANG
            _left.append(self.pid)
        if self.method == "forkserver":
            if self._pidfd is not None and not self.untouchable:
                self._await_word()
            code = self._popen.poll()
            # 255 is also what the standard library says when the server itself has died.
            if code in (None, 255) and runs(self.pid):
                self.kill()
                return None
            return code if isinstance(code, int) else None
        try:
            if self._pidfd is not None:
                found = os.waitid(os.P_PIDFD, self._pidfd, flags)
            else:
                found = os.waitid(os.P_PID, self.pid, flags)
        except ChildProcessError:
            return None
        if found is None:
            return None
        _reap_left()
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        self._popen.returncode = code
        return code

    def close(self) -> None:
        """Give everything back. The process must be reaped."""
        if self._pidfd is not None:
            owned_descriptors.close(self._pidfd)
            self._pidfd = None
        if self._popen.returncode is None:
            self._popen.returncode = 255
        finalizer = getattr(self._popen, "finalizer", None)
        if finalizer is not None:
            finalizer()
        self._popen = None  # loky's closes what it has when it goes
        self.closed = True
        if not self.handed_over:  # else its number is not to be another's before the reader is back
            self.sock.close()
        if not self.lost:
            self.box.close()
        lifeline.release()

    def lose(self) -> None:
        """The program has closed our descriptors: end it without using them, or their numbers."""
        self.kill()
        self.garbled = True
        self.sock.detach()
        _lost.append(self.box)  # to unmap it would close its descriptor, too
        if self.method != "forkserver":
            self._pidfd = None
            self.reap()
        self._reaped = self._reaped or (None,)
        self.lost = True

    def abandon(self) -> None:
        """Let go of it in a forked child, whose worker it is not."""
        self.sock.close()
        self.box.close()
        self.dead = True
        self._reaped = (None,)  # never signal it: it is the parent's, and works for it


def _reap_left() -> None:
    for pid in tuple(_left):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            ended = True  # it is a server's, or the user's code has done it
        if ended and pid in _left:
            _left.remove(pid)
