"""What was recorded while a profile was open: its calls, and the workers that started."""

from __future__ import annotations

from procession.recording.call_record import CallRecord
from procession.system import after_fork
from procession.system.pristine import perf_counter, time

__all__ = ["Recorded"]


class Recorded:
    """What a profile is told, and what it is shown from.

    Attributes:
        began: When it was opened, by `time.perf_counter`.
        at: The same, by the wall's clock.
        ended: When it was closed; `None` as long as it is open.
    """

    def __init__(self) -> None:
        self._lock = after_fork.lock()
        self._calls: list[CallRecord] = []
        self._starts: dict[int, tuple[float, float]] = {}
        self.began = perf_counter()
        self.at = time.time()
        self.ended: float | None = None

    def add_call(self, record: CallRecord) -> None:
        """A call has begun."""
        with self._lock:
            self._calls.append(record)

    def add_start(self, pid: int, began: float, ended: float) -> None:
        """A worker has started."""
        with self._lock:
            self._starts[pid] = (began, ended)

    @property
    def calls(self) -> list[CallRecord]:
        """What was recorded of each call, in the order in which they began."""
        with self._lock:
            return list(self._calls)

    @property
    def starts(self) -> dict[int, tuple[float, float]]:
        """When each worker that started meanwhile began and ended to do so, by process id."""
        with self._lock:
            found = dict(self._starts)
        for call in self.calls:
            for pid, start in call.starts.copy().items():
                found.setdefault(pid, start)
        return found
