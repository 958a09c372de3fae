"""Progress: what is shown, to whom, and what it may not do to the map."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from importlib import import_module
from typing import Any

import pytest

from procession.engine.map import progress as module
from procession.engine.map.progress import Progress, open_progress
from procession.errors import ParallelWarning


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal that remembers. (Not in a fixture: pytest sets its own.)"""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands until a test moves it."""
    now = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


def opened(option: Any, total: int | None = None) -> Progress:
    """Progress that is shown."""
    shown = open_progress(option, "resize", total)
    assert shown is not None
    return shown


def test_callable_gets_done_and_total(clock: list[float]) -> None:
    """A function is told at once, then at most every 50 ms, and at the end."""
    told: list[tuple[int, int | None]] = []
    shown = opened(lambda done, total: told.append((done, total)), 10)
    for _ in range(9):
        shown.update(1)
    assert told == [(1, 10)]
    clock[0] += 0.05
    shown.update(1)
    assert told == [(1, 10), (10, 10)]
    shown.close()
    shown.close()
    assert told == [(1, 10), (10, 10)]


def test_last_report_is_made_at_the_end(clock: list[float]) -> None:
    """What was held back is told when the map ends."""
    told: list[tuple[int, int | None]] = []
    shown = opened(lambda done, total: told.append((done, total)))
    shown.update(1)
    shown.update(5)
    shown.close()
    assert told == [(1, None), (6, None)]


def test_empty_map_reports_nothing_done() -> None:
    """A map without items still tells that it is over."""
    told: list[tuple[int, int | None]] = []
    opened(lambda done, total: told.append((done, total)), 0).close()
    assert told == [(0, 0)]


def test_total_that_lied_is_withdrawn() -> None:
    """When more items come than the input said, the total is unknown."""
    told: list[tuple[int, int | None]] = []
    shown = opened(lambda done, total: told.append((done, total)), 2)
    shown.update(3)
    shown.close()
    assert told == [(3, None)]


def test_callable_that_raises_is_called_no_more(clock: list[float]) -> None:
    """An error in the user's function costs the progress, not the map."""
    calls: list[int] = []

    def bad(done: int, total: int | None) -> None:
        calls.append(done)
        raise RuntimeError("no display")

    shown = opened(bad, 5)
    with pytest.warns(ParallelWarning, match=r"bad\(1, 5\) raised RuntimeError: no display") as w:
        shown.update(1)
    assert w[0].filename == __file__
    clock[0] += 1
    shown.update(1)
    shown.close()
    assert calls == [1]


def test_ctrl_c_in_a_callable_is_the_callers() -> None:
    """An interrupt is not taken for an error of the progress."""

    def interrupted(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(interrupted).update(1)


def test_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm shows the function's name, the items done, and the total."""
    terminal = on_terminal(monkeypatch)
    shown = opened(True, 4)
    shown.update(3)
    shown.update(1)
    shown.close()
    assert "resize" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()


def test_label_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A string is the bar's label."""
    terminal = on_terminal(monkeypatch)
    shown = opened("thumbnails")
    shown.update(2)
    shown.close()
    assert "thumbnails" in terminal.getvalue()
    assert "2 items" in terminal.getvalue()


def test_bar_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm's monitor thread is not started: it would be there at a fork."""
    on_terminal(monkeypatch)
    before = set(threading.enumerate())
    shown = opened(True, 4)
    shown.update(1)
    shown.close()
    assert set(threading.enumerate()) <= before  # one of them may have had nothing to do


def test_terminal_that_went_away_does_not_stop_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the bar on a closed stream is nothing that the map's caller hears of."""
    terminal = on_terminal(monkeypatch)
    shown = opened(True, 4)
    terminal.close()
    shown.close()


def test_report_that_fails_on_the_way_ends_the_progress(clock: list[float]) -> None:
    """A stream that breaks in the middle is said once; the map goes on."""

    def broken(done: int, total: int | None) -> None:
        raise BrokenPipeError

    shown = Progress(broken, 4)
    with pytest.warns(ParallelWarning, match="progress stopped"):
        shown.update(1)
    shown.close()


def test_nothing_is_shown_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log files and pipes get no bars, and tqdm is not even imported."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert open_progress(True, "resize", 4) is None
    monkeypatch.setattr(sys, "stderr", None)
    assert open_progress("label", "resize", 4) is None


def test_nothing_is_shown_when_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is silence, also on a terminal."""
    terminal = on_terminal(monkeypatch)
    assert open_progress(False, "resize", 4) is None
    assert terminal.getvalue() == ""


def test_missing_tqdm_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal without tqdm one warning names the pip command."""
    on_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(module, "_hinted", False)
    with pytest.warns(ParallelWarning, match=r"pip install 'procession\[progress\]'"):
        assert open_progress(True, "resize", 4) is None
    assert open_progress(True, "resize", 4) is None


def test_notebook_shows_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a kernel there is no terminal, and tqdm.auto chooses how to show."""
    from types import SimpleNamespace

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    auto = SimpleNamespace(tqdm=import_module("tqdm").tqdm)
    monkeypatch.setitem(sys.modules, "tqdm.auto", auto)
    shown = opened(True, 2)
    shown.update(2)
    shown.close()
    assert "2/2" in stream.getvalue()


def test_tqdm_is_imported_only_when_it_shows() -> None:
    """A map without progress does not pay for it."""
    code = (
        "import sys; from procession.engine.map.progress import open_progress; "
        "open_progress(True, 'f', 1); open_progress(print, 'f', 1); "
        "sys.exit('tqdm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True)
    assert done.returncode == 0


def test_lines_need_no_terminal(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """``"lines"`` writes a line every 10 s to any stderr, with pace and what is left."""
    progress = opened("lines", 4000)
    progress.update(500)
    clock[0] += 9.9
    progress.update(500)
    assert capsys.readouterr().err == ""
    clock[0] += 0.1
    progress.update(0)
    assert capsys.readouterr().err == (
        "resize: 1000 of 4000 items in 10 s, 100 a second, about 30 s left\n"
    )
    clock[0] += 290
    progress.update(3000)
    progress.close()
    assert capsys.readouterr().err == "resize: 4000 of 4000 items in 5 min, 13.3 a second\n"


def test_lines_of_a_short_map(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """A map that is over before the first line is due writes none."""
    progress = opened("lines")
    progress.update(3)
    progress.close()
    assert capsys.readouterr().err == ""
    progress = opened("lines")
    clock[0] += 7200
    progress.update(3)
    assert "resize: 3 items in 2 h 0 min" in capsys.readouterr().err
