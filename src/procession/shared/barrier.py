"""Barrier: a number of processes and threads wait for each other."""

from __future__ import annotations

from collections.abc import Callable
from threading import BrokenBarrierError
from typing import Any

from procession.shared.memory.layout import BODY, FIRST_ROW, PARTICIPANT, ROW_WORDS
from procession.shared.memory.monitor import REFUSED, Monitor, Patience
from procession.shared.memory.segment import Segment, attach

_ARRIVED, _BROKEN = BODY, BODY + 1
_WAITING = 0


class Barrier(Monitor):
    """A point that a number of processes or threads pass together.

        barrier = shared.Barrier(3)
        barrier.wait()    # returns when three have come here

    Like `multiprocessing.Barrier`. If a participant dies, the others get `BrokenBarrierError`
    within about a second. A participant is a process that the barrier was sent to as an argument,
    or that has waited at it; one that ends in order, or drops the barrier, is none any more.

    Args:
        parties: How many must wait.
        action: Called by one of them, before they pass.
        timeout: Seconds to wait at most, unless `wait` says otherwise.

    Raises:
        ValueError: There are less than 1 `parties`.
    """

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        if parties < 1:
            raise ValueError(f"a barrier needs 1 party or more, not {parties}")
        self._set_up(parties, action, timeout)
        self._create("barrier")

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self._parties, self._action, self._timeout)
        return attach, (type(self), self._segment, *arguments)

    def _open(self, segment: Segment, *arguments: Any) -> None:
        super()._open(segment)
        if arguments:
            self._set_up(*arguments)
            self._take_part()

    def _set_up(
        self, parties: int, action: Callable[[], object] | None, timeout: float | None
    ) -> None:
        self._parties = parties
        self._action = action
        self._timeout = timeout

    @property
    def parties(self) -> int:
        """How many must wait."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many wait just now."""
        return self._words[_ARRIVED]

    @property
    def broken(self) -> bool:
        """Whether it is broken, until `reset`."""
        return bool(self._words[_BROKEN])

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties do.

        Args:
            timeout: Seconds to wait at most; by default the barrier's own.

        Returns:
            A number from 0 to ``parties - 1``, another one for each.

        Raises:
            BrokenBarrierError: If the time is over, the barrier is broken or reset, or a
                participant died.
        """
        patience = Patience(self._timeout if timeout is None else timeout)
        with self._mutex:
            self._take_part()
            if self._words[_BROKEN]:
                raise BrokenBarrierError
            index = self._words[_ARRIVED]
            self._words[_ARRIVED] = index + 1
            if self._some_died():
                self._break()
                raise BrokenBarrierError
            if index + 1 == self._parties:
                self._let_pass()
            else:
                self._wait_for_others(patience)
            return index

    def reset(self) -> None:
        """Make it new; who waits gets `BrokenBarrierError`."""
        with self._mutex:
            for row in self._dead_participants():
                self._words[FIRST_ROW + row * ROW_WORDS + PARTICIPANT] = 0
            self._write(_ARRIVED, 0, _BROKEN, 0)
            self._waiters.call(_WAITING, verdict=REFUSED)

    def abort(self) -> None:
        """Break it; who waits, and who will, gets `BrokenBarrierError`."""
        with self._mutex:
            self._break()

    def _let_pass(self) -> None:
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            self._break()
            raise
        self._words[_ARRIVED] = 0
        self._waiters.call(_WAITING)

    def _wait_for_others(self, patience: Patience) -> None:
        waiters = self._waiters
        cell = waiters.enlist(_WAITING)
        try:
            while waiters.verdict(cell) > 0:
                rest = patience.rest()
                if rest <= 0 or self._some_died():
                    self._break()
                    break
                self._mutex.release()
                try:
                    waiters.sleep(cell, rest)
                finally:
                    self._mutex.acquire()
        except BaseException:
            self._break()
            waiters.dismiss(cell)
            raise
        if waiters.dismiss(cell) == REFUSED:
            raise BrokenBarrierError

    def _break(self) -> None:
        self._write(_ARRIVED, 0, _BROKEN, 1)
        self._waiters.call(_WAITING, verdict=REFUSED)

    def _take_part(self) -> None:
        row = self._segment.row or self._segment.claim()
        self._words[FIRST_ROW + row * ROW_WORDS + PARTICIPANT] = 1

    def _some_died(self) -> bool:
        return self._waiters.some_died(_WAITING) or bool(self._dead_participants())

    def _dead_participants(self) -> list[int]:
        parts = self._segment.column(PARTICIPANT)
        rows = self._segment.rows()
        return [row for row in rows if parts[row] and not self._segment.occupied(row)]

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"{self.n_waiting}/{self._parties} waiting"
        return f"<Barrier({state})>"
