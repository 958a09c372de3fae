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
from procession.process.io.black_box import BlackBox, Running
from procession.process.io.channel import SEGMENT, Message, frame, split
from procession.process.io.reactor import READ, reactor
from procession.process.pool.assignment import Assignment
from procession.process.pool.attended_channel import AttendedChannel
from procession.process.pool.worker_process import WorkerProcess
from procession.process.pool.worker_state import WorkerState
from procession.system import lifeline
from procession.system.lifeline import is_ending
from procession.system.posix import signal
from procession.system.pristine import socket, threading, time

GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL: enough to close files, short for someone who waits."""

_STOPPING = 5.0
"""Seconds that a worker's exit handlers may take, before it is killed."""

_DUMP_EVERY, _DUMP_LOOKS = 0.004, 60
"""A stack is written within a millisecond, unless the process is stopped or starved. With 60 ms it
was missing now and then where all processors were busy."""

_JOBS_CHECKED = 16
"""A worker that was sent so many jobs is told which of them are over. A guess."""

_seen = threading.Lock()

_lost: list[Any] = []
"""What may not be given back, as the program has closed its descriptors."""


class Worker(WorkerState):
    """A process, its channel and its black box.

    Attributes:
        process: The process.
        pid: Its process id.
        channel: What it says, and is told.
        box: Its black box.
        launched: When its start began, as a profile counts.
        began: When it was started, by the monotonic clock.
        seen: How many chunks it had been given at the last sweep (`Dispatch`).
        set_up_error: What its set-up raised, pickled, or `None`.
        send_error: What stopped its chunk from being sent, or `None`.
        deserted: Whether it closed its channel to us, and lived on.
        reason: Why we have ended it though no one asked for that, as a sentence; or empty.
        heard: The last chunk whose result was found in its memory, and may come once more.
    """

    def __init__(
        self,
        method: str,
        popen: Any,
        sock: socket.socket,
        box: BlackBox,
        launched: float = 0.0,
    ) -> None:
        super().__init__()
        self.process = WorkerProcess(method, popen)
        self.pid = self.process.pid
        self.channel = AttendedChannel(sock, self)
        self.box = box
        self.launched = launched
        self.began = time.monotonic()
        self.seen = 0
        self.set_up_error: bytes | None = None
        self.send_error: Exception | None = None
        self.deserted = False
        self.reason = ""
        self.heard = 0
        self._dead: Callable[[], None] | None = None
        self._timers: list[Any] = []
        self._lost = False
        self._jobs: dict[int, ref[Job]] = {}
        self._heavy = False  # whether some of them have buffers, which are not to be kept for long

    # -- watching ----------------------------------------------------------------------------

    def watch(self, dead: Callable[[], None], take: Callable[[Sequence[Message]], None]) -> None:
        """Have the reactor watch it.

        Args:
            dead: Called when it is dead, or is to be taken for it.
            take: Called with what it says, by the reactor or who reads in its place.
        """
        self._dead = dead
        reactor.watch(self.process.death, dead)
        self.channel.begin(take)  # before anything is armed: its death takes both back
        reactor.arm(self.process.death, READ)
        self.channel.arm()

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

    def learn_ahead(self, job: Job, modules: Sequence[str]) -> None:
        """Send a job that it is likely to be used for, if that is quickly done.

        Args:
            job: That.
            modules: What it is to import first.
        """
        if not job.buffers and len(job.header) < SEGMENT:
            self._learn(job)
            self.channel.say(messages.LEARN, job.key, job.header, modules)

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
        reached = self.process.signal(number, group=group)
        if not reached and self._dead is not None and not self.channel.ended:
            reactor.call_soon(self._dead)  # do without its death

    # -- afterwards --------------------------------------------------------------------------

    def read_last(self) -> None:
        """It is dead: use what it said last, and watch it no more."""
        reactor.forget(self.process.death)
        self.channel.end()

    def reap(self) -> int | None:
        """Take the exit code of a dead process; `None` if others have taken it."""
        if not self.in_order:
            self.kill()  # what it started must not outlive it; before its number is free
        code = self.process.reap()
        for timer in self._timers:
            timer.cancel()
        return code

    def close(self) -> None:
        """Give everything back. The process must be reaped."""
        self.process.close()
        self.channel.close()
        if not self._lost:
            self.box.close()
        lifeline.release()

    def lose(self) -> None:
        """The program has closed our descriptors: end it without using them, or their numbers."""
        self.kill()
        self.channel.lose()
        _lost.append(self.box)  # to unmap it would close its descriptor, too
        self.process.lose()
        self._lost = True

    def abandon(self) -> None:
        """Let go of it in a forked child, whose worker it is not."""
        self.channel.abandon()
        self.box.close()
        self.die()
        self.process.disown()  # it is the parent's, and works for it


def _range_of(chunk: Chunk) -> range | None:
    """The indexes of its items, if these follow each other in a column."""
    indexes = None if chunk.column is None else chunk.column.indexes
    return indexes if isinstance(indexes, range) else None
