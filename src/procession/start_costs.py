"""What the start of a cold pool costs on this machine.

To import what a pool needs, and to start its first workers, takes the time of this machine. Nothing
is kept of it between programs, so it is learnt from what happens anyway: how long the import of a
decorated function's own modules took, and how long the first workers took until they were ready.
"""

from __future__ import annotations

_IMPORT_SECONDS = 15e-3
"""What importing a decorated function's modules takes on the machine of the figures below."""

_COPY_SECONDS = 110e-3
_CLEAN_SECONDS = 165e-3
"""What a program's first pool takes from the items of its caller, for each of two processors: the
modules here, the fork server and a worker. That server is a copy, or executed. Of 105 ms in which
the items stood still, 50 went to 130 modules; with 290 ms of items left, a pool neither gained nor
lost."""

_WORKER_SECONDS = 75e-3
"""What another pool takes, if all is loaded here, until workers were measured."""

_MODULE_SECONDS = 0.8e-3
_MOST_MODULE_SECONDS = 3e-3
"""What a module of a library takes to import. numpy's 100 take 80 ms, and scikit-learn's 1,500 take
1.4 s. No library was seen for whose modules it takes three times as long."""

_MOST_SCALE = 20.0
_MEMORY = 0.5


class StartCosts:
    """What was learnt of this machine's starts."""

    def __init__(self) -> None:
        self._scale = 1.0
        self._worker: float | None = None
        self._before = 0.0

    def imported(self, seconds: float, before: float = 0.0) -> None:
        """The modules of the first decorated function took so long.

        Args:
            seconds: That.
            before: What the program had computed by then: mostly imports.
        """
        self._before = before
        self._scale = min(max(seconds / _IMPORT_SECONDS, 0.2), _MOST_SCALE)

    def started(self, seconds: float) -> None:
        """A worker took so long from its start until it was ready."""
        seconds = min(seconds, self.first(copy=False))  # more is what it imports for its items
        known = self._worker
        self._worker = seconds if known is None else known + _MEMORY * (seconds - known)

    def first(self, *, copy: bool) -> float:
        """Seconds that the first pool takes, for each of two processors.

        Args:
            copy: Whether the fork server is a copy of this process.
        """
        return self._scale * (_COPY_SECONDS if copy else _CLEAN_SECONDS)

    def importing(self, modules: int) -> float:
        """Seconds that a worker takes to import so many modules of the program."""
        most = min(self._before, _MOST_MODULE_SECONDS * modules)
        return max(most, self._scale * _MODULE_SECONDS * modules)

    @property
    def later(self) -> float:
        """Seconds that another pool takes."""
        return self._scale * _WORKER_SECONDS if self._worker is None else self._worker


start_costs = StartCosts()
