"""Looks from time to time after memory that is kept for its next use, and gives back what is old.

A process that has a clock (a reactor's timer) gives it (`Housekeeper.use_clock`). One that has none
looks whenever it is given work, which is enough for workers: idle ones end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from procession.hints import Any
from procession.system import after_fork
from procession.system.pristine import time
from procession.user_threads import user_threads

IDLE_SECONDS = 10.0
"""How long memory is kept for its next use. A guess: longer than a pause in a loop of maps."""

_EVERY = IDLE_SECONDS / 2


class Housekeeper:
    """Calls what is registered, as long as some of it says that it keeps something."""

    def __init__(self) -> None:
        self._later: Callable[[float, Callable[[], Any]], Any] | None = None
        self._tasks: list[tuple[Callable[[], bool], Callable[[], object]]] = []
        self._timer: Any = None
        self._looked = 0.0

    def register(self, trim: Callable[[], bool], clear: Callable[[], object]) -> None:
        """Look after something.

        Args:
            trim: Gives back what is old; says whether anything is still kept.
            clear: Gives back all that is not in use.
        """
        self._tasks.append((trim, clear))

    def use_clock(self, later: Callable[[float, Callable[[], Any]], Any]) -> None:
        """Take a clock.

        Args:
            later: Calls a function after so many seconds; returns something with ``cancel``.
        """
        self._later = later

    @property
    def watches(self) -> bool:
        """Whether what is kept now is going to be looked at, or its process has no clock."""
        return self._timer is not None or self._later is None

    def arm(self) -> None:
        """Something may be kept from now on. Not for finalizers."""
        if self._timer is None and self._later is not None:
            # Aside, as what is given back may be objects of the user's, with finalizers.
            self._timer = self._later(_EVERY, partial(user_threads.run_soon, self._tick))

    def look(self) -> None:
        """Look now, unless it is not long since."""
        now = time.monotonic()
        if now - self._looked > _EVERY:
            self._looked = now
            for trim, _ in self._tasks:
                trim()

    def _tick(self) -> None:
        self._timer = None
        kept = [trim() for trim, _ in self._tasks]
        if any(kept):
            self.arm()

    def clear(self) -> None:
        """Give back all that is not in use."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        for _, clear in reversed(self._tasks):  # the first ones are what the later ones use
            clear()

    def renew(self) -> None:
        """In a forked child: the clock is the parent's."""
        self._timer = self._later = None


housekeeper = Housekeeper()
"""This process's."""

after_fork.renew_in_child(housekeeper.renew)
