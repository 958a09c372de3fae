"""Taking input in a thread of its own: for verbs that do not wait, and for input that may wait for
the results of its own items, so that those go on arriving."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from procession.system.pristine import threading
from procession.system.wakeup import Wakeup

if TYPE_CHECKING:
    from procession.engine.map.map_run import MapRun

__all__ = ["Feeder"]


class Feeder:
    """Takes a map's input one item at a time, never more than the window lets in."""

    def __init__(self, run: MapRun) -> None:
        self._run = run
        self._room = Wakeup()
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._loop,), name="procession-feeder", daemon=True
        )

    def start(self) -> None:
        """Begin. The map must know of it by then, or it cannot poke it."""
        self._thread.start()

    def poke(self) -> None:
        """There may be room again, or the map is over."""
        self._room.wake()

    def _loop(self) -> None:
        run, intake = self._run, self._run.intake
        try:
            while intake.open:
                if run.here_only or intake.room() <= 0:
                    self._room.wait()
                    continue
                run.take_one()
        except BaseException as error:
            run.failure = error
            run.wake()
        finally:
            intake.source.close()
