"""One worker process, as its parent sees it: what it is sent, how it is ended, what it leaves.

A worker that must go gets SIGTERM, a short grace, SIGKILL; before that, if they are wanted, its
stacks are written, by faulthandler's own signal handler, which needs no GIL. The signals go to the
whole process group, so that what an item has started ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import ref

from procession.contract import Chunk
from procession.hints import Any
from procession.items import Job
from procession.process.far_side.worker_setup import DUMP_SIGNAL
from procession.process.io import messages
from procession.process.io.channel import SEGMENT, Message, frame, split
from procession.process.io.flight_recorder import BlackBox, Running
from procession.process.io.reactor import READ, reactor
from procession.process.pool.assignment import Assignment, WorkerState
from procession.process.pool.attended_channel import AttendedChannel
from procession.system import lifeline, owned_descriptors
from procession.system.lifeline import is_ending, runs
from procession.system.posix import os, signal
from procession.system.pristine import select, socket, threading, time
from procession.system.resources import private_bytes

__all__ = ["GRACE", "Worker"]

GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL: enough to close files, short for someone who waits."""

_STOPPING = 5.0
"""Seconds that a worker's exit handlers may take, before it is killed."""

_DUMP_EVERY, _DUMP_LOOKS = 0.004, 15
"""A stack is written within a millisecond, unless the process is stopped or starved."""

_WORD_AFTER = 1000
"""Milliseconds to wait for a fork server's word of a death, at most. It takes less than one, unless
the server is stopped."""

_JOBS_CHECKED = 16
"""A worker that was sent so many jobs is told which of them are over. A guess."""

_left: list[int] = []
"""Processes that we could not end: they are waited for when they have ended by themselves."""

_seen = threading.Lock()

_lost: list[Any] = []
"""What may not be given back, as the program has closed its descriptors."""


class Worker(WorkerState):
    """A process, its channel and its black box.

    Attributes:
        method: The start method it came by.
        pid: Its process id, and its process group's.
        channel: What it says, and is told.
        box: Its flight recorder.
        launched: When its start began, as a profile counts.
        began: When it was started, by the monotonic clock.
        seen: How many chunks it had been given at the last sweep (`Dispatch`).
        set_up_error: What its set-up raised, pickled, or `None`.
        send_error: What stopped its chunk from being sent, or `None`.
        deserted: Whether it closed its channel to us, and lived on.
        reason: Why we have ended it though no one asked for that, as a sentence; or empty.
        heard: The last chunk whose result was found in its memory, and may come once more.
        untouchable: Whether it belongs to another user, so that we could not end it.
    """

    def __init__(
        self, method: str, popen: Any, sock: socket.socket, box: BlackBox, launched: float = 0.0
    ) -> None:
        super().__init__()
        self.method = method
        self.pid: int = popen.pid
        self.channel = AttendedChannel(sock, self)
        self.box = box
        self.launched = launched
        self.began = time.monotonic()
        self.seen = 0
        self.set_up_error: bytes | None = None
        self.send_error: Exception | None = None
        self.deserted = False
        self.reason = ""
        self.untouchable = False
        self.heard = 0
        self._base_memory = 0
        self._dead: Callable[[], None] | None = None
        self._timers: list[Any] = []
        self._lost = False
        self._popen: Any = popen
        self._jobs: dict[int, ref[Job]] = {}
        self._heavy = False  # whether some of them have buffers, which are not to be kept for long
        self._pidfd = self._open_pidfd()
        self._reaped: tuple[int | None] | None = None

    # -- watching ----------------------------------------------------------------------------

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

    def watch(self, dead: Callable[[], None], take: Callable[[Sequence[Message]], None]) -> None:
        """Have the reactor watch it.

        Args:
            dead: Called when it is dead, or is to be taken for it.
            take: Called with what it says, by the reactor or who reads in its place.
        """
        self._dead = dead
        reactor.watch(self.death, dead)
        self.channel.begin(take)  # before anything is armed: its death takes both back
        reactor.arm(self.death, READ)
        self.channel.arm()

    def weigh(self) -> None:
        """What it shares with its caller until one of both writes to it is not its own."""
        if self.method == "fork":
            self._base_memory = private_bytes(self.pid)

    def memory_taken(self) -> int:
        """Bytes of private memory, beyond what it began with."""
        return private_bytes(self.pid) - self._base_memory

    def running(self) -> Running | None:
        """The item that it began last of the chunk it has."""
        return self.box.running(self.number)

    @property
    def number(self) -> int:
        """Which of its chunks it has, or had last."""
        assignment = self.assignment
        return self.chunks if assignment is None else assignment.number

    def takes_calls(self, assignment: Assignment) -> bool:
        """Whether it knows the call's job already."""
        return assignment.chunk.job.key in self._jobs

    def kept(self, *, alive: bool) -> Sequence[Message]:
        """Results that it keeps, and has not sent, as far as they are not known."""
        found: list[Message] = []
        if self.assignment is not None:
            number = self.number
            data = self.box.kept_while_running() if alive else self.box.kept()
            for message, segments in split(data):
                if message[2] == number:
                    found.append((message, segments))
                    if message[0] == messages.RESULT:
                        self.heard, number = number, number + 1
        return found

    # -- talking -----------------------------------------------------------------------------

    def send_task(self, assignment: Assignment) -> bool:
        """Send a chunk. Whether its replies are left to the thread that waits for them.

        Raises:
            OSError: It is gone.
        """
        chunk = assignment.chunk
        job = chunk.job
        known = job.key in self._jobs
        if known and chunk.given is not None:
            if self.behind:
                given = [chunk.given, *(each.chunk.given for each in self.behind)]
                calls = frame((messages.CALLS, job.key, given))
                return self.channel.post(calls, assignment, self.behind)
            call = frame((messages.CALL, job.key, *chunk.given))
            return self.channel.post(call, assignment)
        over: Sequence[int] = () if known else self._learn(job)
        parts = messages.pack_task(job, chunk.content, not known, over, assignment.ahead)
        return self.channel.post(parts, assignment)

    def learn_ahead(self, job: Job) -> None:
        """Send a job that it is likely to be used for, if that is quickly done."""
        if not job.buffers and len(job.header) < SEGMENT:
            self._learn(job)
            self.channel.say(messages.LEARN, job.key, job.header)

    def _learn(self, job: Job) -> Sequence[int]:
        """It is about to be sent a job's header. Which jobs it may forget."""
        over: Sequence[int] = ()
        if len(self._jobs) >= _JOBS_CHECKED or self._heavy:
            over = self._drop_over()
            if len(self._jobs) >= 3 * _JOBS_CHECKED:
                # The worker's own memory of jobs is bounded: forget the oldest here first.
                del self._jobs[next(iter(self._jobs))]
        self._jobs[job.key] = ref(job)
        self._heavy = self._heavy or bool(job.buffers)
        return over

    def _drop_over(self) -> list[int]:
        over = [key for key, job in list(self._jobs.items()) if job() is None]
        for key in over:
            self._jobs.pop(key, None)
        return over

    def forget_over(self) -> None:
        """Have it drop the jobs that are over, and what they hold; for a worker that is idle."""
        over = self._drop_over()
        if over:
            self.channel.say(messages.FORGET, over)

    def swept(self) -> bool:
        """Whether it was given chunks since this was last asked."""
        seen, self.seen = self.seen, self.chunks
        return seen != self.chunks

    def stop_after_item(self, assignment: Assignment, *, at_once: bool) -> None:
        """Have it run nothing more of its chunk after the item that runs; see `BlackBox.stop`."""
        if self.assignment is assignment and (at_once or not assignment.divided):
            self.box.stop(assignment.number, at_once=at_once)

    def reached(self, assignment: Assignment) -> int:
        """How many items of its chunk were begun, but for the last; 0 if that is not known."""
        indexes = _range_of(assignment.chunk)
        return 0 if indexes is None else self.box.reached(indexes, assignment.number)

    def divide(self, assignment: Assignment, position: int) -> bool:
        """Have it end its chunk before this position. Whether it certainly does.

        It looks before each item, and says then which one it begins. So if it has not come to the
        item before that position, it sees this before it comes to the one after it.
        """
        if _range_of(assignment.chunk) is None or self.reached(assignment) > position - 2:
            return False
        assignment.mark_divided()
        self.box.divide(assignment.number, assignment.chunk.index(position))
        with _seen:  # what this has written is seen by all processors before it reads
            pass
        return self.reached(assignment) <= position - 2

    # -- ending ------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask it to end; insist if it does not."""
        # First the clock: it keeps the reactor's thread, which ends with the last worker, and which
        # nothing can start again once the interpreter is ending.
        self._timers.append(reactor.call_later(_STOPPING, lambda: self.put_down(dump=False)))
        self.channel.say(messages.STOP)

    def put_down(self, *, dump: bool) -> None:
        """End it: its stacks if they are wanted, SIGTERM, grace, SIGKILL."""
        if not dump:
            self._terminate()
            return
        self.signal(DUMP_SIGNAL, group=False)
        self._await_dump(0, _DUMP_LOOKS)

    def _await_dump(self, size: int, looks: int) -> None:
        if self.channel.ended:
            return
        now = self.box.stack_size()
        if looks == 0 or (now and now == size):
            self._terminate()
        else:
            reactor.call_later(_DUMP_EVERY, lambda: self._await_dump(now, looks - 1))

    def _terminate(self) -> None:
        self.signal(signal.SIGTERM)
        self._timers.append(reactor.call_later(GRACE, self.kill))

    def kill(self) -> None:
        """End it at once, with all that it started."""
        self.signal(signal.SIGKILL)

    def distrust(self, reason: str = "") -> None:
        """Nothing that it says can be used any more: end it at once."""
        self.channel.spoil()
        self.reason = self.reason or reason
        self.kill()

    def refuse(self, error: Exception) -> None:
        """Its chunk cannot be sent, or it is watched no more: end it, and say why."""
        self.send_error = self.send_error or error
        self.kill()

    def give_up(self) -> None:
        """Its channel is closed: it is dead, or its own code did that, and it is of no use."""
        if not self.stopping:
            self.deserted = not is_ending(self.pid)
            self.kill()

    def fail_set_up(self, error: bytes) -> None:
        """Its set-up raised, and it ends by itself."""
        self.set_up_error = error

    def signal(self, number: int, *, group: bool = True) -> None:
        """Send a signal to the process, and to all that it started."""
        if self._reaped is not None:
            return  # its number may be another's by now
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
        if self._dead is not None and not self.channel.ended:
            reactor.call_soon(self._dead)

    # -- afterwards --------------------------------------------------------------------------

    def read_last(self) -> None:
        """It is dead: use what it said last, and watch it no more."""
        reactor.forget(self.death)
        self.channel.end()

    def reap(self) -> int | None:
        """Take the exit code of a dead process; `None` if others have taken it."""
        if not self.in_order:
            self.kill()  # what it started must not outlive it; before its number is free
        if self._reaped is None:
            self._reaped = (self._wait(),)
        for timer in self._timers:
            timer.cancel()
        return self._reaped[0]

    def _wait(self) -> int | None:
        if self.untouchable:
            _left.append(self.pid)
        if self.method == "forkserver":
            return self._ask_server()
        code = self._take_code(os.WNOHANG if self.untouchable else 0)
        if code is not None:
            _reap_left()
            self._popen.returncode = code
        return code

    def _take_code(self, flags: int) -> int | None:
        try:
            if self._pidfd is None:
                pid, status = os.waitpid(self.pid, flags)
                return os.waitstatus_to_exitcode(status) if pid else None
            found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | flags)
        except ChildProcessError:
            return None
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _ask_server(self) -> int | None:
        """Its parent is the fork server, which tells its exit code an instant after its death."""
        if self._pidfd is not None and not self.untouchable:
            told = select.poll()
            told.register(self._popen.sentinel, select.POLLIN)
            told.poll(_WORD_AFTER)
        code = self._popen.poll()
        # 255 is also what the standard library says when the server itself has died.
        if code in (None, 255) and runs(self.pid):
            self.kill()
            return None
        return code if isinstance(code, int) else None

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
        self.channel.close()
        if not self._lost:
            self.box.close()
        lifeline.release()

    def lose(self) -> None:
        """The program has closed our descriptors: end it without using them, or their numbers."""
        self.kill()
        self.channel.lose()
        _lost.append(self.box)  # to unmap it would close its descriptor, too
        if self.method != "forkserver":
            self._pidfd = None
            self.reap()
        self._reaped = self._reaped or (None,)
        self._lost = True

    def abandon(self) -> None:
        """Let go of it in a forked child, whose worker it is not."""
        self.channel.abandon()
        self.box.close()
        self.die()
        self._reaped = (None,)  # never signal it: it is the parent's, and works for it


def _range_of(chunk: Chunk) -> range | None:
    """The indexes of its items, if these follow each other in a column."""
    indexes = None if chunk.column is None else chunk.column.indexes
    return indexes if isinstance(indexes, range) else None


def _reap_left() -> None:
    for pid in tuple(_left):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            ended = True  # it is a server's, or the user's code has done it
        if ended and pid in _left:
            _left.remove(pid)
