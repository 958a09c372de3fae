"""What workers say and how they end, and what the pool does about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from procession import logger
from procession.contract import End
from procession.errors import PoolClosed
from procession.hints import TYPE_CHECKING, Any
from procession.items import Results
from procession.process.io import messages
from procession.process.io.reactor import guarded, reactor
from procession.process.pool.assignment import Assignment
from procession.process.pool.attended_channel import (
    Answer,
    CallEnding,
    CancelledEnding,
    Ending,
    tell,
)
from procession.process.pool.dispatch import Dispatch
from procession.process.pool.worker_starts import never_ready
from procession.start_costs import start_costs
from procession.system.posix import os, signal
from procession.system.pristine import perf_counter, time
from procession.system.resources import OOM_NOTE, OomWatch
from procession.user_threads import user_threads

if TYPE_CHECKING:
    from procession.process.io.channel import Message
    from procession.process.pool.worker import Worker

_ANSWERS = (messages.RESULT, messages.DONE, messages.REPLIES)

_oom: OomWatch | None = None


def welcome(pool: Dispatch, worker: Worker) -> None:
    """Watch a process that was just started."""
    global _oom
    if _oom is None:
        _oom = OomWatch()
    worker.process.weigh()  # what its set-up takes is its own
    with pool.lock:
        pool.state.started(worker, time.monotonic())
        pool.ensure_audit()
    worker.watch(partial(_died, pool, worker), partial(_take, pool, worker))
    if worker.stopping:
        worker.kill()
    elif pool.state.queue:
        pool.look_at_starts()


# -- what they say -----------------------------------------------------------------------------


def _take(pool: Dispatch, worker: Worker, received: Sequence[Message]) -> None:
    """Act on messages of a worker, in the thread that reads its channel."""
    for message, segments in received:
        kind = message[0]
        if kind in _ANSWERS and message[2] != worker.number:
            if kind == messages.RESULT and message[2] <= worker.heard:
                continue  # it was found in the worker's memory before
            # Nothing that it says can be trusted any more.
            worker.distrust(
                f"It was ended because it answered for chunk {message[2]} while it ran chunk "
                f"{worker.number}: look for code that writes to descriptors which are not its own."
            )
            return
        if kind == messages.RESULT:
            _answered(pool, worker, message)
        elif kind == messages.UNRUN:
            _unrun(pool, worker, message[2])
        elif kind == messages.DONE:
            _done(pool, worker, message, segments)
        elif kind == messages.REPLIES:
            _replies(worker, message, segments)
        elif kind == messages.HELLO:
            _ready(pool, worker)
        elif kind == messages.FAILED:
            worker.fail_set_up(message[1])
        elif kind == messages.IMPORTED:
            pool.notice_imports(message[1])


def _ready(pool: Dispatch, worker: Worker) -> None:
    now = perf_counter()
    logger.worker_started(worker.pid, worker.process.method)
    pool.spec.tell(worker.pid, worker.launched, now)
    start_costs.started(now - worker.launched)
    worker.process.weigh()
    pool.teach(worker)
    with pool.lock:
        given = pool.state.ready(worker, time.monotonic())
    pool.hand_out(given)


def _answers(worker: Worker, assignment: Assignment, message: Any, segments: Any) -> list[Answer]:
    """What came for a chunk, and marked as come: not what is said of the item that is to blame."""
    passed = worker.channel.passed
    found = messages.unpack_results(message, segments, passed)
    if found is None:
        replies = messages.unpack_replies(message, segments, passed)
        if not assignment.ahead:  # the indexes in a stream count its values
            if assignment.verdict is not None:
                replies = [reply for reply in replies if reply.index != assignment.blame.index]
            assignment.mark_replied(replies)
        return [replies] if replies else []
    answers = [found]
    if assignment.verdict is not None:
        answers = _without(assignment, *found)
    for position, results in answers:
        assignment.mark_returned(position, results)
    return [(position, results) for position, results in answers if results.payloads]


def _without(assignment: Assignment, position: int, results: Results) -> list[tuple[int, Results]]:
    """Results of a column, but for that of the item to blame."""
    index = assignment.blame.index
    at = -1 if index is None else assignment.chunk.position(index) - position
    if not 0 <= at < len(results.payloads):
        return [(position, results)]
    before = results.part(0, at)
    after = results.part(at + 1, len(results.payloads))._replace(extras=())
    return [(position, before), (position + at + 1, after)]


def _replies(worker: Worker, message: Any, segments: Sequence[Any]) -> None:
    assignment = worker.assignment
    if assignment is None or assignment.verdict == "cancelled":
        return
    for answer in _answers(worker, assignment, message, segments):
        tell(assignment.chunk, answer)


def _answered(pool: Dispatch, worker: Worker, message: Any) -> None:
    """A call has a result."""
    assignment = worker.assignment
    if assignment is None:
        return
    if assignment.verdict is None:
        assignment.chunk.job.ran(message[3])
        answer = message[1], message[3]
        if _over(pool, worker, assignment, CallEnding(worker.channel, assignment, answer)):
            return
    _cancelled(pool, worker, assignment)


def _cancelled(pool: Dispatch, worker: Worker, assignment: Assignment) -> None:
    """A call has ended that may have been cancelled; if it was not, its death says the end."""
    if assignment.verdict == "cancelled":
        _over(pool, worker, assignment, CancelledEnding(worker.channel, assignment, ()))


def _unrun(pool: Dispatch, worker: Worker, number: int) -> None:
    """A worker has not run this call, as it was taken back."""
    with pool.lock:
        assignment = worker.assignment
        if assignment is None or assignment.number != number:
            return  # that is known already
        pool.state.unbegun(worker, time.monotonic())
        given = pool.state.match()
    pool.hand_out(given)


def _done(pool: Dispatch, worker: Worker, message: Any, segments: Sequence[Any]) -> None:
    assignment = worker.assignment
    if assignment is None:
        return
    single = assignment.chunk.given is not None
    if assignment.verdict is not None:  # its end comes with its death
        if single:
            _cancelled(pool, worker, assignment)
        else:
            _replies(worker, message, segments)
        return
    # Before anything changes: an interrupt from here on loses neither the replies nor the end.
    answers = _answers(worker, assignment, message, segments)
    ended = _over(pool, worker, assignment, Ending(worker.channel, assignment, answers))
    if single and not ended:
        _cancelled(pool, worker, assignment)


def _over(pool: Dispatch, worker: Worker, assignment: Assignment, ending: Ending) -> bool:
    """A chunk is over: its end was written down, and is told when the state has changed.

    Not if it was condemned meanwhile.
    """
    state = pool.state
    with pool.lock:
        cancelled = isinstance(ending, CancelledEnding)
        given = state.done(worker, time.monotonic(), cancelled=cancelled)
    if given is None:
        ending.forget()
        return False
    if worker.assignment is not None and not given:
        return True  # another call was behind it
    if assignment.timers:
        assignment.forget_timers()
    if worker.in_order and (worker, None) not in given:  # it has had its share
        pool.replace(worker)
    if given or state.orders:
        pool.hand_out(given)
    if state.queue:
        pool.read_on()
    return True


# -- how they end ------------------------------------------------------------------------------


def _died(pool: Dispatch, worker: Worker) -> None:
    """A worker is dead: use what it said last, and tell how its chunk ended."""
    with pool.lock:
        if not pool.state.died(worker):
            return
    worker.read_last()
    _bury(pool, worker)


def _bury(pool: Dispatch, worker: Worker) -> None:
    code = worker.reap()
    logger.worker_ended(worker.pid, code)
    end = _end_of(worker, code)
    with pool.lock:
        assignment, dropped = pool.state.buried(worker, broken=worker.set_up_error is not None)
        given = pool.state.match()
    refusal = _why_refused(worker, code) if dropped else None
    guarded(worker.close)  # however that fails, the chunk's end is told
    pool.hand_out(given)
    if assignment is not None:
        assignment.forget_timers()
        assignment.chunk.listener.ended(assignment.chunk, end)
        reactor.let_go(assignment.chunk)
    if refusal is not None:
        user_threads.run_soon(lambda: pool.refuse(dropped, refusal()))
    pool.forget(worker)


def _why_refused(worker: Worker, code: int | None) -> Callable[[], BaseException]:
    """Makes the error: to rebuild what an initializer raised runs code of the user's."""
    if worker.set_up_error is not None:
        from procession.pickling.exceptions import load_exception

        return partial(load_exception, worker.set_up_error)
    error = never_ready(worker, code)
    return lambda: error


def abandoned(pool: Dispatch, error: BaseException) -> None:
    """The reactor's thread has died, so no one has watched the workers: end them, and say why.

    What they have sent is still used; what they had not done, and what waited, fails with the
    reason. The next call starts new workers.
    """
    refusal = PoolClosed(
        "the thread that watches all workers of this process died of "
        f"{type(error).__name__}: {error}. What they ran was ended; the next call starts new ones."
    )
    refusal.__cause__ = error
    with pool.lock:
        workers, dropped = pool.state.abandon()
    for worker in workers:
        worker.refuse(refusal)
        if isinstance(error, OSError):
            worker.lose()
        guarded(partial(_died, pool, worker))
    pool.refuse(dropped, refusal)


def _end_of(worker: Worker, code: int | None) -> End:
    """How the chunk of a dead worker ended; blame goes to the item it ran, if it ran one."""
    assignment = worker.assignment
    if assignment is None or assignment.verdict == "cancelled":
        return End("cancelled")
    report = worker.box.report()
    if worker.process.untouchable:
        report = _untouchable(worker) + (f"\n{report}" if report else "")
    if worker.send_error is not None:
        return End("refused", error=worker.send_error)
    if assignment.verdict is not None:
        index, seconds, peak = assignment.blame
        return End(assignment.verdict, index, code, report, peak, None, seconds)
    running = worker.running()
    index, seconds = None, 0.0
    if running is not None and assignment.lacks(running.item):
        index, seconds = running.item, max(0.0, time.monotonic() - running.since)
    reason = worker.reason
    if not reason and code == -signal.SIGKILL and _oom is not None and _oom.struck():
        reason = OOM_NOTE
    if reason:
        report = f"{reason}\n{report}" if report else reason
    deserted = worker.deserted or worker.box.deserted()
    return End("died", index, code, report, 0, None, seconds, deserted)


def _untouchable(worker: Worker) -> str:
    return (
        f"Worker {worker.pid} could not be killed (EPERM): this process is user {os.geteuid()} "
        "now, and was another one when it started that worker. It ends by itself after what it "
        "runs, at the latest with this program. Give up privileges before the first call, or call "
        "procession.shutdown() just before that."
    )
