"""One call that runs in a worker, and the future that stands for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from procession import logger
from procession.contract import Backend, Chunk, End, Listener, OneByOne
from procession.engine.decoding import value_of
from procession.engine.overload import Deadline, admit, leave
from procession.engine.policy.blame import Rules, judge, unable
from procession.engine.retrying import asks_again, begin_again
from procession.forwarding.records import Replay
from procession.futures import Future
from procession.hints import Any
from procession.items import ATOM_BYTES, SHORT, Column, Item, Job, Reply, Settled, size_back
from procession.observer import UNOBSERVED, call_began, observers
from procession.pickling.exceptions import raisable
from procession.pickling.objects import ATOMS, THEMSELVES, all_are
from procession.pickling.pickler import loads
from procession.system.cpython import pickle
from procession.system.interrupts import strikes
from procession.system.limits import explain
from procession.system.pristine import threading
from procession.user_threads import user_threads

_ANSWERED = Reply(0, True, None)
"""In place of a reply that was settled at once."""


class SingleCall(OneByOne, Chunk):
    """One call: runs on a backend until it has a result or an error, and settles a future with it.

    It is its own chunk at its first attempt, and makes its item when that is asked for.

    Attributes:
        future: What its caller holds.
        name: The function's.
    """

    column: Column | None = None
    given: Any = None
    handle: Any = None
    plain = False

    _apart: Backend | None = None
    _chunk: Chunk | None = None
    _reply: Reply | None = None
    _in_doubt = False  # whether its error, once rebuilt, may ask for another attempt
    _cancelled = False
    _watched = False
    _counted = False  # by max_pending
    _resting = False  # until its next attempt
    _deadline: Deadline | None = None
    _attends = 0
    _number = 0
    _value: Any = None
    _item: Item | None = None
    _observer = UNOBSERVED

    def __init__(self, backend: Backend, rules: Rules) -> None:
        self.future: Future[Any] = Future()
        self.name = rules.name
        self._backend = self.home = backend
        self._rules = rules
        self._lock = threading.RLock()
        if observers.active:
            self._observer = call_began(rules.name, single=True)

    # -- as a chunk --------------------------------------------------------------------------

    @property
    def content(self) -> Sequence[Item]:
        """The call as an item."""
        item = self._item
        if item is None:  # it was sent as it is
            number, value = self._number, self._value
            item = self._item = Item(number, value, pickle.dumps(value, 5))
        return [item]

    @property
    def listener(self) -> Listener:
        """Itself."""
        return self

    def __len__(self) -> int:
        return 1

    def index(self, position: int) -> int:
        """Its number."""
        return self._number

    # -- its start ---------------------------------------------------------------------------

    def admit(self, limit: int | None) -> None:
        """Wait for a worker, unless as many calls do as may.

        Raises:
            Overloaded: They do.
        """
        if limit is not None:
            admit(self, self._backend, self._rules.name, limit)
            self._counted = True

    def expire_after(self, seconds: float | None) -> None:
        """End the call if it is not done so many seconds from now."""
        if seconds is not None:
            self._deadline = Deadline(seconds, self._expire)

    def _expire(self) -> None:
        with self._lock:
            chunk = self._chunk
            done = self._reply is not None and not self._in_doubt
            self._cancelled = self._cancelled or not done
        if chunk is not None and not (done or self._in_doubt or self._resting):
            chunk.home.cancel(chunk)

    def start(self, job: Job, item: Item) -> None:
        """Send the call to a worker.

        Raises:
            PoolClosed: The pool was shut down.
        """
        args, kwargs = item.value
        self.plain = not kwargs and all_are(args, ATOMS)
        self._number, self._item = item.index, item
        self._begin(job)

    def start_short(
        self, job: Job, number: int, value: Any, pack: Callable[[int, Any], Item]
    ) -> None:
        """The same, in a short message if the arguments are short, to a backend that has those.

        Raises:
            PoolClosed: The pool was shut down.
            NotPicklable: The arguments cannot cross.
        """
        args, kwargs = value
        if kwargs or not all_are(args, THEMSELVES):
            item = pack(number, value)
            if not item.buffers and item.size <= SHORT:
                self.given = number, item.blob
            self.start(job, item)
            return
        self._number, self._value, self.given = number, value, (number, args)
        self.plain = True
        self._begin(job)

    def _begin(self, job: Job) -> None:
        self.future.stand_for(self)
        if self._observer is not UNOBSERVED:
            self._observer.packed()
        self.job, self.attended = job, not self._watched
        self._send(self)

    def _send(self, chunk: Chunk) -> None:
        self._chunk = chunk
        if self._observer is not UNOBSERVED:
            self._observer.sent(chunk)
        chunk.home.start(chunk)
        if self._cancelled:  # by its deadline, before there was anything to end
            chunk.home.cancel(chunk)

    def refuse(self, error: Exception) -> None:
        """The call could not be sent."""
        self._observer.packed(refused=1)
        explain(error, starting=True)
        self._over(None, error)

    # -- as a listener -----------------------------------------------------------------------

    def answered(self, chunk: Chunk, payload: Any, seconds: float) -> None:
        """The call is done, and has a result."""
        raw, item = type(payload) is not bytes, self._item
        self._reply = _ANSWERED
        if self._observer is not UNOBSERVED:
            reply = Reply(self._number, True, payload, (), seconds, raw)
            self._answer(chunk, chunk.items[0], reply)
            return
        out = ATOM_BYTES if item is None else item.size
        self._backend.tally.called(out, ATOM_BYTES if raw else len(payload))
        if self._counted or self._deadline is not None or self._apart is not None:
            self._end()
        self._chunk = None
        if raw:
            self.future.settle(payload)
        else:
            self.future.settle_later(partial(self._load, payload), failed=False)

    def _load(self, payload: bytes) -> tuple[Any, BaseException | None]:
        """Rebuild a result."""
        try:
            return loads(payload), None
        except BaseException as error:
            if strikes(error):
                raise  # it is no answer
        reply = Reply(self._number, True, payload)
        return _rebuilt(None, value_of, Settled(self.content[0], reply), self._rules)

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """The call is done. What it gave is rebuilt by the first who asks the future for it."""
        item, reply = chunk.items[0], replies[0]
        self._reply = reply
        rules = self._rules
        if not reply.ok and rules.retry_on and item.attempt <= rules.retries:
            self._in_doubt = True
        else:
            self._answer(chunk, item, reply)

    def _answer(self, chunk: Chunk, item: Item, reply: Reply) -> None:
        settled, rules = Settled(item, reply), self._rules
        self._observer.replied(chunk, (settled,))
        chunk.home.tally.answered(1, int(not reply.ok))
        chunk.home.tally.moved(item.size, size_back(item, reply))
        if reply.raw and reply.ok and reply.extras is None:
            self._over(reply.payload, None)
            return
        decode = self._observer.decoding(value_of)
        self._observer.finished()
        self._end()
        told = None if reply.extras is None else Replay(reply.extras)
        self.future.settle_later(
            lambda: _rebuilt(told, decode, settled, rules), failed=not reply.ok
        )
        if told is not None and not self._attended():
            user_threads.run_soon(told)

    def ended(self, chunk: Chunk, end: End) -> None:
        """The worker is done with it, one way or another."""
        reply = self._reply
        if reply is not None:
            if self._in_doubt:
                user_threads.run_soon(lambda: self._decide(chunk, reply))
            return
        if self._cancelled:
            # Who cancelled may have been interrupted (Ctrl-C) before it could say so.
            user_threads.run_soon(self._settle_cancelled)
            return
        item = chunk.items[0]
        rules = self._rules
        verdicts = judge(chunk, [item], end, rules)
        logger.died(rules.name, rules.retries, verdicts, end, single=True)
        (_, error, apart, counted), *_ = verdicts
        self._observer.settled(int(error is not None), int(error is None), end)
        chunk.home.tally.ended(end, int(error is not None), int(error is None))
        if error is not None:
            self._over(None, error)
        else:
            self._again(chunk, item, apart=apart, counted=counted)

    def _decide(self, chunk: Chunk, reply: Reply) -> None:
        """In a user thread: rebuild the error, to see whether the call is to be run again."""
        item = chunk.items[0]
        again = asks_again(item, reply, self._rules)
        with self._lock:
            cancelled = self._cancelled
            self._in_doubt = False
            if again and not cancelled:
                self._reply = None
        if cancelled:
            self._settle_cancelled()
        elif not again:
            self._answer(chunk, item, reply)
        else:
            item.seconds += reply.seconds
            self._observer.replied(chunk, (Settled(item, reply),), (item,))
            chunk.home.tally.again()
            if reply.extras is not None:
                user_threads.run_soon(Replay(reply.extras))
            self._again(chunk, item)

    def _again(
        self, chunk: Chunk, item: Item, *, apart: bool = False, counted: bool = True
    ) -> None:
        if self._rules.delay and counted:
            self._resting = True
            most = math.inf if self._deadline is None else self._deadline.left
            go = partial(self._rested, chunk, item)
            begin_again(item, self._rules, go, partial(self._over, None), most)
        else:
            self._start_again(chunk, item, apart=apart)

    def _rested(self, chunk: Chunk, item: Item) -> None:
        """In a user thread: its next attempt may begin."""
        with self._lock:
            if not self._resting:
                return  # it was cancelled meanwhile, and that was said
            self._resting = False
            self._cancelled = self._cancelled or (
                self._deadline is not None and self._deadline.passed
            )
        if self._cancelled:
            self._settle_cancelled()
        else:
            self._start_again(chunk, item)

    def _start_again(self, chunk: Chunk, item: Item, *, apart: bool = False) -> None:
        try:
            home = self._alone() if apart else self._backend
            attended = not self._watched
            self._send(Chunk(chunk.job, [item], self, attended, home=home, plain=self.plain))
        except Exception as refused:
            self._over(None, unable(item, refused))

    def _settle_cancelled(self) -> None:
        if self._deadline is not None and self._deadline.passed:
            self._over(None, self._deadline.error(self._rules.name))
            return
        self._leave()
        self._chunk = None
        self.future.settle_cancelled()
        self._observer.finished()
        self._close_apart()

    def _alone(self) -> Backend:
        if self._apart is None:
            self._apart = self._backend.apart()
        return self._apart

    def _over(self, value: Any, error: BaseException | None) -> None:
        self._observer.finished()
        self._end()
        told = None if error is None else raisable(error, f"{self.name}()")
        self.future.settle(value, told)

    def _leave(self) -> None:
        if self._counted:
            leave(self, self._backend)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.disarm()
        self._leave()
        if self._apart is not None:
            self._close_apart()
        self._chunk = None

    def _close_apart(self) -> None:
        if self._apart is not None:
            self._apart.close(wait=False)

    # -- Work --------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """End the call. True if it will not deliver."""
        with self._lock:
            chunk = self._chunk
            if chunk is None or (self._reply is not None and not self._in_doubt):
                return False
            self._cancelled = True
            if self._in_doubt:
                return True
            if self._resting:
                self._resting = False
                self._leave()
                return True
            if chunk.home.cancel(chunk):
                self._leave()
                return True
            self._cancelled = False
            return False

    def cancel_queued(self) -> bool:
        """Take the call back if no worker has begun with it (`Pool.shutdown`)."""
        chunk = self._chunk
        return chunk is not None and not chunk.home.running(chunk) and self.future.cancel()

    def running(self) -> bool:
        """Whether a worker has begun with it."""
        chunk = self._chunk
        return chunk is not None and chunk.home.running(chunk)

    def attend(self, timeout: float | None) -> None:
        """Wait in the calling thread, reading the worker's pipe where the backend can."""
        chunk = self._chunk
        if chunk is None:
            return
        self._attends = threading.get_ident()
        try:
            chunk.home.attend(chunk, timeout)
        finally:
            self._attends = 0

    def _attended(self) -> bool:
        """Whether this thread waits for the call, and so is about to ask for what it gave."""
        return self._attends == threading.get_ident()

    def watched(self) -> None:
        """Do not rely on `attend`: the thread that looks at the future may never call it."""
        self._watched = True
        chunk = self._chunk
        if chunk is not None and chunk.attended:
            chunk.attended = False
            chunk.home.notice(chunk)


def _rebuilt(
    told: Replay | None, decode: Callable[..., Any], settled: Settled, rules: Rules
) -> tuple[Any, BaseException | None]:
    """What a call gave, after the log records and warnings that came with it were handled."""
    if told is not None:
        told()
    try:
        return decode(settled, rules), None
    except BaseException as raised:
        if strikes(raised):
            raise  # it is no answer
        return None, raised
