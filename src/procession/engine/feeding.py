"""Taking input that may block: a generator, a cursor, a socket. A thread of its own does it, so
that results go on arriving while the input makes us wait for its next item."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from procession.bells import Bell
from procession.system.pristine import threading

if TYPE_CHECKING:
    from procession.engine.mapping import MapRun

__all__ = ["Feeder"]


class Feeder:
    """Takes a map's input one item at a time, never more than the window lets in."""

    def __init__(self, run: MapRun) -> None:
        self._run = run
        self._room = Bell()
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._loop,), name="procession-feeder", daemon=True
        )

    def start(self) -> None:
        """Begin. The map must know of it by then, or it cannot poke it."""
        self._thread.start()

    def poke(self) -> None:
        """There may be room again, or the map is over."""
        self._room.ring()

    def _loop(self) -> None:
        run, intake = self._run, self._run.intake
        try:
            while intake.open:
                if run.here_only or intake.room() <= 0:
                    self._room.wait()
                    continue
                with intake.taking:
                    start, values = intake.take(1)
                    intake.hold(start, values)
                # Idle workers get the item at once. While all are busy it waits, so that chunks
                # grow: whoever ends a chunk sends on what is pending by then.
                if not values or run.hungry:
                    run.pump()
        except BaseException as error:
            run.failure = error
            run.wake()
        finally:
            intake.source.close()
