"""Initializers: what they set is there for the items, wherever the functions live."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procession import Pool, parallel, shared, shutdown

SCRIPT = """
    import sys
    from procession import Pool, parallel, shared

    lock = None
    seen = []

    class Settings:
        limit = 1

    def remember(given, counter):
        global lock, count, make
        lock, count, make = given, counter, lambda: "made"
        prepare()

    def prepare():
        seen.append("prepared")
        Settings.limit += 1

    def work(item):
        with lock:
            count.value += 1
        return item, seen, make(), limit()

    def limit():
        return Settings.limit

    if __name__ == "__main__":
        lock_here, counter = shared.Lock(), shared.Value("i", 0)
        chosen = dict(initializer=remember, initargs=(lock_here, counter), workers=1)
        if sys.argv[1] == "pool":
            with Pool(**chosen) as pool:
                found = list(pool.map(work, range(3)))
        else:
            function = parallel(backend=sys.argv[1], **chosen)(work)
            found = function.map(range(3))
            assert found == function.map(range(3)), found
            assert function.submit(0).result() == found[0]
            counter.value -= 4
        assert found == [(each, ["prepared"], "made", 2) for each in range(3)], found
        assert counter.value == 3, counter.value
        assert sys.argv[1] in ("thread", "serial") or lock is None
        print("fine")
"""


@pytest.mark.parametrize("where", ["process", "loky", "stdlib", "thread", "serial", "pool"])
def test_the_globals_of_a_script(where: str, tmp_path: Path) -> None:
    """multiprocessing's own idiom: the initializer of a script sets globals that its functions use.

    They go by value, each in a pickle of its own, and still meet in one set of globals.
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    run = subprocess.run(
        [sys.executable, str(script), where], capture_output=True, text=True, timeout=120
    )
    assert run.stdout == "fine\n", run.stderr


def test_what_changes_later_reaches_workers(tmp_path: Path) -> None:
    """What the initializer did not touch is sent as it is when the function is sent."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            from procession import parallel

            level = 1

            def start():
                global started
                started = True

            def work(item):
                return started, level

            if __name__ == "__main__":
                function = parallel(initializer=start, workers=1)(work)
                print(function.submit(0).result())
                level = 2
                print(function.submit(0).result())
        """)
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert run.stdout == "(True, 1)\n(True, 2)\n", run.stderr


CALLS: list[Any] = []
HERE = threading.local()


def note(name: str) -> None:
    """An initializer of threads."""
    CALLS.append(name)
    HERE.name = name


def noted(item: int) -> tuple[int, str]:
    """What the initializer left in this thread."""
    return item, HERE.name


def fail() -> None:
    """An initializer that raises."""
    raise LookupError("no database")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    shutdown()
    CALLS.clear()
    yield
    shutdown()
    CALLS.clear()


def test_each_thread_runs_it_once() -> None:
    """The backend of threads has workers too: its threads."""
    function = parallel(backend="thread", workers=2, initializer=note, initargs=("a",))(noted)
    assert function.map(range(20)) == [(each, "a") for each in range(20)]
    assert function.map(range(20)) == [(each, "a") for each in range(20)]
    assert CALLS in (["a"], ["a", "a"])
    with Pool(1, backend="thread", initializer=note, initargs=("b",)) as pool:
        assert pool.submit(noted, 1).result() == (1, "b")


def test_serial_runs_it_once_here() -> None:
    """This process is the only worker of the serial backend."""
    function = parallel(backend="serial", initializer=note, initargs=("a",))(noted)
    assert function.map(range(3)) == [(0, "a"), (1, "a"), (2, "a")]
    assert function.submit(3).result() == (3, "a")
    assert list(function.imap([4])) == [(4, "a")]
    assert CALLS == ["a"]
    other = parallel(backend="serial", initializer=note, initargs=("b",))(noted)
    assert other.map([1]) == [(1, "b")]
    assert CALLS == ["a", "b"]


def test_only_here_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator who debugs a program with PROCESSION_BACKEND=serial gets its initializers."""
    monkeypatch.setenv("PROCESSION_BACKEND", "serial")
    function = parallel(workers=2, initializer=note, initargs=("a",))(noted)
    assert function.map(range(2)) == [(0, "a"), (1, "a")]


@pytest.mark.parametrize("backend", ["thread", "serial"])
def test_its_error_is_the_answer_to_each_item(backend: Any) -> None:
    """As in worker processes: nothing hangs, and every item says why."""
    function = parallel(backend=backend, initializer=fail)(noted)
    outcomes = list(function.outcomes(range(3)))
    assert [type(outcome.error) for outcome in outcomes] == [LookupError] * 3
    with pytest.raises(LookupError, match="no database") as raised:
        function.submit(1).result()
    assert any("initializer" in note for note in raised.value.__notes__)


def test_shared_objects_in_initargs_of_threads() -> None:
    """They are the caller's own objects there."""
    lock = shared.Lock()
    function = parallel(backend="thread", workers=1, initializer=CALLS.append, initargs=(lock,))(
        noted
    )
    with pytest.raises(AttributeError):
        function.submit(1).result()
    assert [lock] == CALLS
    assert CALLS[0] is lock
