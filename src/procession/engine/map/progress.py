"""Showing how far a map has come: tqdm, or the user's own function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from procession.errors import warn_user
from procession.hints import Any
from procession.system.pristine import perf_counter, threading

_EVERY = 50e-3
"""Seconds between two reports. More often is nothing that an eye could follow, and one report of
tqdm takes some 50 µs, so that showing progress costs a thousandth."""

LINES_EVERY = 10.0
"""Seconds between two lines of ``progress="lines"``."""

Report = Callable[[int, int | None], object]


class Progress:
    """Counts items that are done and reports them now and then; always at the end.

    Used by the thread that consumes the map, and by no other.

    Args:
        report: Is given (done, total).
        total: How many items there are, if it is known.
        close: Called once, after the last report.
        every: Seconds between two reports, and before the first one.
    """

    __slots__ = ("_close", "_done", "_every", "_next", "_report", "_reported", "_total")

    def __init__(
        self,
        report: Report,
        total: int | None,
        close: Callable[[], object] | None = None,
        every: float = 0.0,
    ) -> None:
        self._report: Report | None = report
        self._close = close
        self._total = total
        self._done = 0
        self._reported = -1
        self._every = every or _EVERY
        self._next = perf_counter() + every

    def update(self, count: int = 1) -> None:
        """So many more items are done."""
        self._done += count
        now = perf_counter()
        if now >= self._next:
            self._tell()
            self._next = now + self._every

    def close(self) -> None:
        """The map is over, or given up. May be called again."""
        told = self._reported >= 0 or self._every == _EVERY  # a short map writes no line
        if told and self._done != self._reported:
            self._tell()
        close, self._close, self._report = self._close, None, None
        if close is not None:
            try:
                close()
            except Exception:
                pass  # The terminal is gone; the map's result is not to suffer.

    def _tell(self) -> None:
        if self._report is None:
            return
        self._reported = self._done
        total = self._total
        if total is not None and self._done > total:
            total = None  # The input's length was wrong.
        try:
            self._report(self._done, total)
        except Exception as error:
            report, self._report = self._report, None
            name = getattr(report, "__qualname__", None) or type(report).__name__
            warn_user(
                f"progress stopped: {name}({self._done}, {total}) raised "
                f"{type(error).__name__}: {error}. The map goes on without it."
            )


def open_progress(
    progress: bool | str | Report, name: str, total: int | None = None
) -> Progress | None:
    """Start showing progress as the ``progress`` option says.

    Args:
        progress: The option's value: `True`, a label, ``"lines"``, or a function of (done, total).
        name: The function's name, shown when there is no label.
        total: How many items there are, if it is known.

    Returns:
        Takes the updates; `None` if there is nothing to show or no one to see it.
    """
    if callable(progress):
        return Progress(progress, total)
    if progress is False:
        return None
    if progress == "lines":
        return Progress(_Lines(name), total, every=LINES_EVERY)
    notebook = _in_notebook()
    if not notebook and not _on_terminal():
        return None
    try:
        bar = _bar(name if progress is True else progress, total, notebook)
    except ImportError:
        _warn_missing()
        return None
    shown = 0

    def show(done: int, total: int | None) -> None:
        nonlocal shown
        bar.update(done - shown)
        shown = done

    return Progress(show, total, bar.close)


class _Lines:
    """Writes a line to stderr, which may be a file: for logs of services and batch jobs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = perf_counter()

    def __call__(self, done: int, total: int | None) -> None:
        seconds = max(perf_counter() - self._began, 1e-9)
        rate = done / seconds
        of = "" if total is None else f" of {total}"
        left = ""
        if total is not None and 0 < done < total:
            left = f", about {_time((total - done) / rate)} left"
        text = f"{self._name}: {done}{of} items in {_time(seconds)}, {rate:.3g} a second{left}\n"
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()


def _time(seconds: float) -> str:
    """A span as people write it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _bar(label: str, total: int | None, notebook: bool) -> Any:
    tqdm: Any = import_module("tqdm.auto" if notebook else "tqdm").tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0
        """No thread that watches bars: it would outlive the map, and be there at a fork."""

    # The default lock is a multiprocessing one; no other process writes to this bar.
    Bar.set_lock(threading.RLock())
    return Bar(total=total, desc=label, unit=" items", dynamic_ncols=True, mininterval=_EVERY)


def _on_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # There is none, or it is closed.
        return False


def _in_notebook() -> bool:
    if "ipykernel" not in sys.modules:
        return False
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


_hinted = False


def _warn_missing() -> None:
    global _hinted
    if not _hinted:
        _hinted = True
        warn_user(
            "progress shows nothing, because tqdm is not installed. "
            "Write pip install 'procession[progress]', or give progress= a function of "
            "(done, total)."
        )
