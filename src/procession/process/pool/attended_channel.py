"""A worker's channel, read by the reactor, or in its place by the thread that waits for a chunk.

A thread that reads for itself saves a thread switch, half of what a small call costs. But it may be
the main thread, where a signal handler can raise between any two steps (Ctrl-C), or make calls
itself. So all that reads is in this module, and nothing else reads a worker's channel here.
The rules are in docs/reading-in-the-waiting-thread.md. It says why the steps have this order, what
happens at which instant, and which tests prove it.

In short: one thread reads at a time (`_reading`). What is taken out of the socket is kept in the
same step. What was read and not told is told by the next one who comes. A stream that is not known
any more costs its worker. What an interrupt leaves undone, the pool's audit does.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType

from procession.contract import Chunk, End
from procession.hints import Any, Protocol
from procession.items import Reply, Results
from procession.process.io.channel import Message, Passed, Receiver, Sender, frame
from procession.process.io.reactor import READ, WRITE, reactor
from procession.process.pool.assignment import Assignment
from procession.system.posix import DO_NOT_WAIT
from procession.system.pristine import select, socket, threading, time

_DONE, _STOPPED, _CANCELLED = End("done"), End("stopped"), End("cancelled")


class Owner(Protocol):
    """Whose channel it is: a worker."""

    assignment: Assignment | None
    behind: deque[Assignment]
    back: int | None
    ready: bool

    def give_up(self) -> None:
        """The channel is closed on its side."""
        ...

    def kept(self, *, alive: bool) -> Sequence[Message]:
        """Results that it keeps in memory, and has not sent."""
        ...

    def distrust(self) -> None:
        """What it says is not known any more: `AttendedChannel.spoil`, and end it."""
        ...


class AttendedChannel:
    """One worker's channel.

    Args:
        sock: This process's end.
        owner: The worker.

    Attributes:
        descriptor: The socket's number.
        left: Whether its chunk's replies are left to who waits for them (`Dispatch`).
        ended: Whether the worker is dead.
        passed: Descriptors that the worker has sent.
        untold: Ends of chunks that were read, and are not told yet.
    """

    def __init__(self, sock: socket.socket, owner: Owner) -> None:
        self.descriptor = sock.fileno()
        self.left = False
        self.ended = False
        self._owner = owner
        self._sock = sock
        self._receiver = receiver = Receiver(sock)
        receiver.passed = self.passed = Passed()
        self._sender = Sender(sock)
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        self._ask: Callable[[float | None], Sequence[object]] = poll.poll
        self._take: Callable[[Sequence[Message]], None] = _ignore
        self._reading = threading.Lock()  # held by the thread that reads
        self._reader: tuple[int, Assignment] | None = None  # which, if it waits for a chunk
        self.untold: deque[Callable[[], None]] = deque()
        self._armed = False
        self._unsent = False
        self._garbled = False
        self._suspect = False
        self._closed = False
        # Others read since a signal handler keeps the reader, which is to find that out.
        self._handed_over = False

    def begin(self, take: Callable[[Sequence[Message]], None]) -> None:
        """Have the reactor know it; `take` acts on what comes."""
        self._take = take
        reactor.watch(self.descriptor, self.look)

    # -- sending -----------------------------------------------------------------------------

    def post(
        self, parts: Sequence[Any], assignment: Assignment, behind: Sequence[Assignment] = ()
    ) -> bool:
        """Send a chunk. Whether its replies are left to the thread that waits for them.

        Args:
            parts: What to send.
            assignment: The chunk.
            behind: What is sent with it.

        Raises:
            OSError: The worker is gone.
        """
        self._unsent = unsent = not self._sender.send(parts)
        self.left = True
        for each in behind:
            each.mark_sent()
        assignment.mark_sent()
        if assignment.chunk.attended and not (unsent or behind):
            return True
        self.arm()
        return False

    def say(self, *message: Any) -> None:
        """Send a small message; a worker that is gone is not an error."""
        try:
            if self._sender.send(frame(message)):
                return
        except OSError:
            return
        self._unsent = True
        self.arm()

    def _flush(self) -> None:
        try:
            self._unsent = not self._sender.flush()
        except OSError:
            self._unsent = False  # it can never be sent

    # -- in the waiting thread ---------------------------------------------------------------

    def attend(self, assignment: Assignment, timeout: float | None) -> None:
        """Read in this thread until the worker's chunk is over, or time is.

        Returns at once if another thread reads, or if other calls are behind this one. The caller
        waits for the chunk's listener to be told after this in any case. An interrupt (Ctrl-C) that
        strikes while bytes are being taken out of the channel makes the stream unknown: the worker
        is killed, and its chunk ends as ``"died"``.
        """
        owner = self._owner
        if self._unsent or owner.behind or owner.assignment is not assignment:
            return
        if owner.back is not None:
            return  # it may be taken back, and its result come by another channel
        deadline = None if timeout is None else time.monotonic() + timeout
        mine = (threading.get_ident(), assignment)
        # A signal handler may raise anywhere, also between two steps here. What then is left
        # undone (the lock, the arming, the telling) `audit` does within a second.
        try:
            if self._reading.acquire(blocking=False):
                self._reader = mine
                self._read_for(assignment, deadline)
        finally:
            if self._reader is mine:
                self._reader = None
                self._reading.release()
                # Only now, in this order: an event that came meanwhile was dropped by the reactor.
                if self._receiver.fetched:
                    reactor.call_soon(self.look)
                elif self._owner.assignment is not None and not self.ended:
                    self.arm()
            elif self._handed_over:
                self._come_back()
            for ending in tuple(self.untold):
                ending()

    def _read_for(self, assignment: Assignment, deadline: float | None) -> None:
        owner, receiver = self._owner, self._receiver
        if self._armed:
            reactor.arm(self.descriptor, 0)
            self._armed = False
        while owner.assignment is assignment and not self.ended:
            try:
                fetched = deadline is None and receiver.fetch()
            except OSError:
                fetched = True  # `_read` says what is wrong
            if not fetched and not receiver.fetched:
                left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
                if not self._ask(left):
                    return
            if self._handed_over:
                return
            try:
                self._take(self._read())
            except EOFError:
                owner.give_up()
                return
            except BaseException:
                owner.distrust()
                raise

    def _read(self) -> list[Message]:
        """What is there now, without waiting.

        Raises:
            EOFError: The worker's end is closed.
        """
        try:
            return self._receiver.read(DO_NOT_WAIT)
        except BlockingIOError:
            return []
        except OSError as error:
            raise EOFError from error

    def hand_over(self, thread: int) -> None:
        """If this thread reads here, have the reactor read: a signal handler keeps it."""
        reader = self._reader
        if reader is not None and reader[0] == thread:
            self._handed_over, self._reader = True, None
            self._reading.release()
            reactor.call_soon(self.look)

    def _come_back(self) -> None:
        """Others read in this thread's place since a signal handler kept it."""
        self._handed_over = False
        if self._closed:
            self._sock.close()
        elif self._receiver.fetched:
            reactor.call_soon(self.look)

    # -- in the reactor ----------------------------------------------------------------------

    def arm(self) -> None:
        """Have the reactor read what comes next, and send what is left."""
        self.left = False
        self._armed = True
        reactor.arm(self.descriptor, READ | WRITE if self._unsent else READ)

    def arm_left(self) -> None:
        """Have the reactor read what was left to a thread that waits; one that reads goes on."""
        if self.left and self._owner.assignment is not None and self._reader is None:
            self.arm()

    def look(self) -> None:
        """Something can be read, or written. In the reactor's thread."""
        self._armed = False
        if self._unsent and not self.ended:
            self._flush()
        if not self._reading.acquire(blocking=False):
            return  # who reads it arms it again
        owner = self._owner
        try:
            if self.ended:
                return
            self._take(self._read())
            if owner.assignment is not None or not owner.ready or self._receiver.amid:
                self.arm()
        except EOFError:
            owner.give_up()
        except Exception:
            owner.distrust()
        finally:
            self._reading.release()
        self.tell()

    def read_kept(self) -> None:
        """Read what the worker has answered, and has not sent. In the reactor's thread."""
        if self.ended or not self._reading.acquire(blocking=False):
            return
        try:
            self._take(self._read())
            self._take(self._owner.kept(alive=True))
        except EOFError:
            self._owner.give_up()
        except Exception:
            self._owner.distrust()
        finally:
            self._reading.release()
        self.tell()

    @property
    def unread(self) -> bool:
        """Whether there is something that no one has acted on.

        Asked while others may wait: a poll object serves one thread at a time.
        """
        if self._receiver.fetched:
            return True
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    # -- telling -----------------------------------------------------------------------------

    def tell(self) -> None:
        """Tell the ends that were read; by the thread that has read them, or the audit."""
        for ending in tuple(self.untold):
            ending()

    # -- from time to time -------------------------------------------------------------------

    def audit(self) -> None:
        """Do what an interrupted reader has left undone."""
        if not self.ended and self._is_free():
            if self._receiver.fetched:
                self.look()
            elif self._owner.assignment is not None:
                self.arm()
        self.tell()

    def _is_free(self) -> bool:
        """Whether it can be read: no thread reads it, or the one that did has gone.

        An exception such as Ctrl-C at the one place where it cannot be caught leaves the lock
        held. The lock is released if twice no thread was found that reads. (No frames are kept to
        know them by: they would make a cycle at each call.)
        """
        if self._reading.acquire(blocking=False):
            self._suspect = False
            self._reading.release()
            return True
        suspect, self._suspect = self._suspect, not self._is_read()
        if not (suspect and self._suspect):
            return False
        self._suspect, self._reader = False, None
        self._reading.release()
        return True

    def _is_read(self) -> bool:
        """Whether some other thread is in a method of this object."""
        me = threading.get_ident()  # the audit, which asks, is in one, too
        for thread, top in sys._current_frames().items():
            at: FrameType | None = None if thread == me else top
            while at is not None:
                if at.f_code.co_filename == _HERE and at.f_locals.get("self") is self:
                    return True
                at = at.f_back
        return False

    # -- the end -----------------------------------------------------------------------------

    def spoil(self) -> None:
        """What comes cannot be understood any more."""
        self._garbled = True

    def end(self) -> None:
        """The worker is dead: act on what it said last."""
        self.ended = True
        reactor.forget(self.descriptor)
        try:
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes who waits to read
        except OSError:
            pass
        # A second is for ever here: then its reader was interrupted and left without a word.
        if self._reading.acquire(timeout=1.0):
            try:
                if not self._garbled:
                    self._take(self._rest())
                    self._take(self._owner.kept(alive=False))
            except Exception:
                self._garbled = True
            finally:
                self._reading.release()
        self.tell()

    def _rest(self) -> list[Message]:
        rest: list[Message] = []
        try:
            while True:
                rest += self._receiver.read(DO_NOT_WAIT)
        except (EOFError, OSError, ValueError):
            return rest

    def close(self) -> None:
        """Give it back. The worker is dead."""
        self._closed = True
        if not self._handed_over:  # else its number is kept until the reader is back
            self._sock.close()

    def lose(self) -> None:
        """The program has closed its descriptor, whose number may be another's by now."""
        self._garbled = True
        self._sock.detach()

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        self._sock.close()
        self.ended = True


Answer = list[Reply] | tuple[int, Results]
"""What came for a chunk: replies, or the results of a column from a position on."""


def tell(chunk: Chunk, answer: Answer) -> None:
    """Tell a chunk's listener what came."""
    if isinstance(answer, tuple):
        position, results = answer
        chunk.listener.returned(chunk, position, results)
    else:
        chunk.listener.replied(chunk, answer)


class Ending:
    """A chunk's last replies and its end, to be told by `AttendedChannel.tell` once it is over.

    It is told once, by any thread that calls it, and however often that is interrupted.
    """

    def __init__(self, channel: AttendedChannel, assignment: Assignment, answers: Any) -> None:
        self._untold = channel.untold
        self._assignment = assignment
        self._answers: Any = answers
        self._turn = [True]
        self._untold.append(self)

    def __call__(self) -> None:
        """Tell, if it is to be told."""
        try:
            if not self._assignment.over:
                return  # it is just being read, or was condemned at the last instant
            try:
                self._turn.pop()
            except IndexError:
                return  # another thread tells it
            self._tell()
            try:
                self._untold.remove(self)
            except ValueError:
                pass  # an interrupt came just after this
        except Exception:
            raise
        except BaseException:
            self._turn[:] = [True]
            reactor.call_soon(self)
            raise

    def forget(self) -> None:
        """It is not to be told."""
        self._untold.remove(self)

    def _tell(self) -> None:
        chunk = self._assignment.chunk
        while self._answers:
            tell(chunk, self._answers[0])
            del self._answers[0]
        chunk.listener.ended(chunk, _DONE if self._assignment.complete else _STOPPED)
        if not chunk.plain:
            reactor.let_go(chunk)
        chunk.handle = None  # it and its assignment hold each other, and what was sent


class CancelledEnding(Ending):
    """The same of a call that was cancelled, and has ended by itself since."""

    def _tell(self) -> None:
        chunk = self._assignment.chunk
        chunk.listener.ended(chunk, _CANCELLED)
        chunk.handle = None


class CallEnding(Ending):
    """The same of a single call: its answer is its result, and the seconds that it took."""

    def _tell(self) -> None:
        chunk = self._assignment.chunk
        caller: Any = chunk.listener
        caller.answered(chunk, *self._answers)
        if not chunk.plain:
            reactor.let_go(chunk)
        chunk.handle = None


def _ignore(_: Sequence[Message]) -> None:
    pass


_HERE = AttendedChannel.attend.__code__.co_filename
