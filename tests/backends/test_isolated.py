"""A process of its own for each call, its warm spare, and streams from generators."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procession.backends.process import IsolatedStream, ProcessBackend, isolated_spec
from procession.contract import End
from procession.items import Item
from procession.pickling.exceptions import load_exception
from procession.pickling.pickler import dumps, loads
from procession.process.pool.worker_starts import WorkerSpec
from tests.process.jobs import (
    begin,
    count_and_note,
    count_to,
    die_after,
    double,
    fail_after,
    had,
    import_oddly,
    is_alive,
    job_of,
    pid,
    poll,
    run,
    surroundings,
)


@pytest.fixture(params=["forkserver", "fork"])
def isolated(request: pytest.FixtureRequest) -> Iterator[ProcessBackend]:
    """Processes that are used once."""
    backend = ProcessBackend(WorkerSpec(context=request.param), 2, single_use=True)
    yield backend
    backend.close(kill=True)


def stream(backend: ProcessBackend, function: Any, value: Any, **options: Any) -> IsolatedStream:
    """Run a generator function."""
    return IsolatedStream(backend, job_of(function), Item(0, value, dumps(value)), **options)


def values(source: IsolatedStream) -> tuple[list[Any], End]:
    """All that a stream yields, and its end."""
    found: list[Any] = []
    while not isinstance(got := source.take(), End):
        found.append(loads(got.payload) if got.ok else load_exception(got.payload))
    return found, got


def test_each_call_has_its_own_process(isolated: ProcessBackend) -> None:
    """No process runs two calls, and each is gone afterwards."""
    job = job_of(pid)
    pids = [run(isolated, job, [0]).values[0] for _ in range(5)]
    assert len(set(pids)) == 5
    poll(lambda: not any(map(is_alive, pids)), "a process stayed")


def test_spare_comes_after_the_first_call_and_goes() -> None:
    """There is none before the first call, one after it, none when it has waited in vain."""
    backend = ProcessBackend(WorkerSpec(), 2, idle=0.3, single_use=True)
    assert not backend.state.workers
    run(backend, job_of(double), [1])
    spare = poll(lambda: backend.state.idle and backend.state.idle[0], "no spare")
    poll(lambda: not is_alive(spare.pid) and not backend.state.workers, "the spare stayed")
    backend.close()


def test_spare_has_imported_the_module() -> None:
    """A spare is made for a module."""
    backend = ProcessBackend(isolated_spec(WorkerSpec(), "colorsys"), 1, single_use=True)
    assert run(backend, job_of(surroundings), [""]).values[0]["preloaded"]
    assert isolated_spec(WorkerSpec(), "__main__") == WorkerSpec()
    backend.close()


def test_spare_imports_what_the_calls_before_have_imported() -> None:
    """What two in a row have: a call that is unlike all others costs later spares nothing."""
    isolated = ProcessBackend(WorkerSpec(context="forkserver"), 2, single_use=True)
    job = job_of(had)
    calls = ["", "filecmp colorsys", "filecmp", "filecmp", "filecmp colorsys"]
    found = []
    for names in calls:
        found.append(run(isolated, job, [names]).values[0])
        poll(lambda: isolated.state.idle, "no spare")
    assert found[2] == []
    assert found[-1] == ["filecmp"]
    isolated.close(kill=True)


def test_spare_whose_call_has_imported_oddly_ends_in_order(
    isolated: ProcessBackend, capfd: pytest.CaptureFixture[str]
) -> None:
    """What cannot be told is not told: nothing is on stderr, and calls go on."""
    job = job_of(import_oddly)
    for _ in range(3):
        assert run(isolated, job, ["made by hand"]).values == {0: "made by hand"}
        poll(lambda: isolated.state.idle, "no spare")
    isolated.close(wait=True)
    assert capfd.readouterr().err == ""


def test_at_most_so_many_at_once(isolated: ProcessBackend) -> None:
    """No more chunks run at once than there are workers."""
    tolds = [begin(isolated, job_of(double), [n])[1] for n in range(8)]
    for told in tolds:
        told.wait()
        assert isolated.state.busy <= 2


def test_stream_brings_all_values_in_order(isolated: ProcessBackend) -> None:
    """A generator's values come one by one, then its end."""
    found, end = values(stream(isolated, count_to, 500))
    assert found == list(range(500))
    assert end.kind == "done"


def test_stream_is_bounded(isolated: ProcessBackend, tmp_path: Path) -> None:
    """A generator does not run further ahead of its consumer than it may."""
    note = tmp_path / "note"
    source = stream(isolated, count_and_note, str(note), ahead=4)
    poll(lambda: note.exists() and note.stat().st_size == 4, "it did not run ahead")
    assert [loads(source.take().payload) for _ in range(40)] == list(range(40))  # type: ignore[union-attr]
    assert note.stat().st_size <= 44
    source.close()


def test_stream_of_a_generator_that_raises(isolated: ProcessBackend) -> None:
    """Its exception is the last value."""
    found, end = values(stream(isolated, fail_after, 3))
    assert found[:3] == [0, 1, 2]
    assert isinstance(found[3], ValueError)
    assert end.kind == "done"


def test_stream_of_a_process_that_dies(isolated: ProcessBackend) -> None:
    """What was yielded before arrives; the end says how it died."""
    found, end = values(stream(isolated, die_after, 3))
    assert found == [0, 1, 2]
    assert (end.kind, end.index, end.exitcode) == ("died", 0, 4)


def test_closed_stream_ends_its_process(isolated: ProcessBackend, tmp_path: Path) -> None:
    """close() kills the process; nothing more comes but the end."""
    source = stream(isolated, count_and_note, str(tmp_path / "note"))
    source.take()
    worker = source.chunk.handle.worker
    assert worker is not None
    source.close()
    poll(lambda: not is_alive(worker.pid), "the process stayed")


def test_a_stream_that_is_interrupted_leaves_no_process(
    isolated: ProcessBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C amid its start, or its close: the process ends with the stream."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("procession.backends.process.after_fork.register", interrupt)
        patch.setattr("procession.backends.process.weakref.finalize", interrupt)
        with pytest.raises(KeyboardInterrupt):
            stream(isolated, count_and_note, str(tmp_path / "first"))
    poll(lambda: not isolated.load.busy, "the process of the first one stayed")
    source = stream(isolated, count_and_note, str(tmp_path / "second"))
    source.take()
    with monkeypatch.context() as patch:
        patch.setattr(isolated, "cancel", interrupt)
        with pytest.raises(KeyboardInterrupt):
            source.close()
    del source
    gc.collect()
    poll(lambda: not isolated.load.busy, "the process of the second one stayed")


def test_what_waits_goes_on_though_the_count_of_the_busy_was_wrong() -> None:
    """An interrupt may have left it so: the audit counts anew, and hands out what waits."""
    backend = ProcessBackend(WorkerSpec(), 1, single_use=True)
    run(backend, job_of(pid), [0])
    poll(lambda: bool(backend.state.idle), "there is no spare")
    backend.state.busy = 1
    _, told = begin(backend, job_of(pid), [0])
    assert backend.state.queue
    backend._dispatch._audit()
    assert not backend.state.queue
    told.wait()
    backend.close(kill=True)


def test_forgotten_stream_ends_its_process(isolated: ProcessBackend, tmp_path: Path) -> None:
    """A stream that is collected takes its process with it."""
    source = stream(isolated, count_and_note, str(tmp_path / "note"))
    source.take()
    worker = source.chunk.handle.worker
    assert worker is not None
    del source
    gc.collect()
    poll(lambda: not is_alive(worker.pid), "the process stayed")
