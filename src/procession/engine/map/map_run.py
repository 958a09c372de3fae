"""One running map: what its consumer asks of it, and its end."""

from __future__ import annotations

from collections.abc import Callable

from procession.backends.shutdown import quiet
from procession.contract import Backend, Chunk
from procession.engine.job import Plan
from procession.engine.map.delivery import Delivery
from procession.engine.map.intake import Intake
from procession.engine.map.replies import Replies
from procession.engine.map.sending import Sender
from procession.engine.map.source import Source
from procession.observer import UNOBSERVED, CallObserver
from procession.system import after_fork, cpython
from procession.system.pristine import threading
from procession.user_threads import user_threads

PROBE_SECONDS = 0.3e-3
"""How long a map waits for what its first item tells: two round trips to a waiting worker."""


class MapRun:
    """One map. Its parts share a lock, and each changes its own state alone.

    Args:
        plan: What stays the same.
        source: The input.
        backend: Gives the pool when it is first needed.
        notify: Called when there is news for the consumer, which does not wait; `None` if it waits
            in the thread that made the map.
        observer: Is told what happens.
        aside: Whether a thread of its own takes input that runs code of the user's.

    Attributes:
        plan: What stays the same.
        observer: Is told what happens.
        intake: The input.
        delivery: What is over, for the consumer.
        replies: What came of what was sent.
        sender: Sends what is next.
        withdrawn: Whether another than its consumer has ended it too early.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        backend: Callable[[], Backend],
        notify: Callable[[], None] | None = None,
        observer: CallObserver = UNOBSERVED,
        *,
        aside: bool = True,
    ) -> None:
        self.plan = plan
        self.observer = observer
        self.withdrawn = False
        self._thread = threading.get_ident()
        self._consumed = notify is None  # by that thread: without it, the map stands still
        self.intake = Intake(source, plan.window, exact=plan.exact)
        self._lock = self.intake.lock
        self.delivery = Delivery(self.intake, ordered=plan.ordered, notify=notify)
        self.replies = Replies(plan, observer, self.delivery)
        self.sender = Sender(self.replies, backend, aside=aside, blocking=self._consumed)
        self.delivery.attach(self.sender.refill)
        self.replies.attach(self.sender, self.withdraw)

    # -- the consumer's side -----------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether there is nothing more for the consumer."""
        return self.intake.over

    @property
    def closed(self) -> bool:
        """Whether the map is over or was cancelled."""
        return self.intake.closed

    def take_error(self) -> BaseException | None:
        """Once, at its end: what the input raised, or what has ended the map too early."""
        return self.delivery.failure or self.intake.source.take_error()

    def go(self) -> None:
        """Give items to the pool from now on."""
        after_fork.register(self)
        self.sender.go()

    def probe(self) -> None:
        """Give the pool one item, and more once that one is answered or takes its time.

        Tiny items are run here, then: one worker was woken for that, and no second one.
        """
        after_fork.register(self)
        self.sender.probe()
        self.wait(PROBE_SECONDS)
        self.sender.probed()

    def wait(self, timeout: float | None = None) -> None:
        """Sleep until something may have changed for the consumer."""
        delivery, sender = self.delivery, self.sender
        with self._lock:
            news = delivery.has_next() or delivery.untold or delivery.failure
            done = news or self.intake.over or sender.needs_consumer()
            wakeup = None if done else delivery.wakeup()
        if wakeup is not None:
            wakeup.wait(timeout)
        if sender.behind:
            sender.pump()

    def stop_after(self, index: int) -> None:
        """Run nothing beyond `index`: its error decides the map, only earlier items matter now."""
        with self._lock:
            self.intake.stop(index)
            beyond = self.replies.in_flight.beyond(index)
        for chunk in beyond:
            chunk.home.stop(chunk, wanted=False)

    # -- its end -----------------------------------------------------------------------------

    def cancel(self) -> None:
        """End what runs, take nothing more, wake the consumer."""
        self._close(self.replies.in_flight.chunks, kill=True)

    def withdraw(self) -> None:
        """End it for another than its consumer, to whom it fails: what has come is not all."""
        from concurrent.futures import CancelledError

        with self._lock:
            if self.intake.over:
                return
            self.withdrawn = True
            self.delivery.failure = CancelledError(
                f"{self.plan.rules.name}(): the map was cancelled after {self.intake.delivered} "
                "items, so its results are incomplete and are not given. Call it again for them."
            )
        self.cancel()
        self.delivery.wake()

    def finish(self) -> None:
        """Let go of what the run holds after its last item."""
        self._close([], kill=False)

    def _close(self, chunks: list[Chunk], *, kill: bool) -> None:
        with self._lock:
            if self.intake.closed:
                return
            self.intake.close()
            self.replies.in_flight.drop_again()
            self.delivery.wake_waiting()
        self.replies.disarm()
        if self.delivery.untold:
            user_threads.run_soon(self.delivery.tell)
        self.observer.finished()
        self.sender.close(chunks, kill=kill)
        # The parts keep each other no longer: what they hold is freed with the map.
        self.delivery.attach(None)
        self.replies.attach(None)

    def renew(self) -> None:
        """In a forked child: what the map waits for comes to the parent, so it fails.

        One that has run all its items in the consumer's thread so far goes on.
        """
        cpython.renew_lock(self.intake.taking)
        if not (self.sender.untouched or self.intake.over):
            self.delivery.abort(after_fork.call_of_parent(self.plan.rules.name))
            self.replies.in_flight.forget()

    def rests(self, caller: int) -> bool:
        """Whether it does not go on by itself, while the thread `caller` does nothing."""
        return self.intake.over or (self._consumed and self._thread == caller)


def _quiet(caller: int) -> bool:
    runs = (each for each in after_fork.registered() if isinstance(each, MapRun))
    return all(run.rests(caller) for run in runs)


quiet.append(_quiet)
