"""Large buffers beside the pickle: what arrives is what plain pickling would have brought."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession import WorkerDied, parallel, shutdown
from procession.buffers import receiver as arrivals
from procession.buffers.housekeeping import housekeeper
from procession.buffers.nameless_memory import Gone
from procession.buffers.sender import Segments, segments
from procession.pickling.out_of_band import dumps_out_of_band
from procession.pickling.pickler import LARGE, loads
from procession.system.descriptors import NAMELESS
from tests.buffers.jobs import (
    N,
    die,
    doubled,
    filled,
    increased,
    large_or_death,
    peek,
    spoil_and_die,
)
from tests.buffers.segment_helpers import end_child, step
from tests.support.waiting import wait_until


def _buffer(array: Any) -> pickle.PickleBuffer:
    """An array as what pickle hands out; not every stub of numpy says that it is a buffer."""
    return pickle.PickleBuffer(array)


pytestmark = pytest.mark.skipif(not NAMELESS, reason="needs memfd")

one = parallel(workers=1, inline=False, backend="process", chunk=1)(step)
ending = parallel(workers=1, inline=False, backend="process", chunk=1)(end_child)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    gc.collect()
    housekeeper.clear()


def crossed(value: Any, **how: Any) -> Any:
    """The value as a receiver gets it."""
    blob, ticket = dumps_out_of_band(value, "strict", **how)
    assert ticket, "it did not go beside"
    return loads(blob, tuple(ticket))


# -- one process on both sides -------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        np.arange(N),
        np.asfortranarray(np.arange(4.0 * N).reshape(4, N)),
        np.zeros(N, [("x", "i4"), ("y", "f8")]),
        np.arange(N).reshape(2, -1).T,
        np.array(["text"] * N),
        [np.arange(N), {"b": np.ones(N)}, b"small"],
        b"x" * LARGE,
        bytearray(b"x" * LARGE),
        (1, b"y" * LARGE),
    ],
    ids=[
        "plain",
        "fortran",
        "structured",
        "transposed",
        "text",
        "several",
        "bytes",
        "bytearray",
        "t",
    ],
)
@pytest.mark.parametrize("private", [False, True])
def test_round_trip(value: Any, private: bool) -> None:
    """What is rebuilt equals, in type, order and flags, what plain pickling rebuilds."""
    there, plain = crossed(value, private=private), pickle.loads(pickle.dumps(value, 5))
    assert type(there) is type(plain)
    if isinstance(plain, np.ndarray):
        assert there.dtype == plain.dtype
        assert there.strides == plain.strides
        assert there.flags.writeable == plain.flags.writeable
        assert (there == plain).all()
        assert there.ctypes.data % 64 == 0
    elif isinstance(plain, list):
        assert (there[0] == plain[0]).all()
        assert (there[1]["b"] == plain[1]["b"]).all()
    else:
        assert there == plain


def test_zero_dimensions_and_small_ones_stay_in_the_pickle() -> None:
    """Buffers below the threshold are cheaper in the message."""
    for value in (np.float64(3), np.array(3.0), np.arange(10), b"small", np.zeros((0, 5))):
        blob, ticket = dumps_out_of_band(value, "strict")
        assert ticket == ()
        assert np.array_equal(loads(blob), value)


def test_read_only_stays_read_only() -> None:
    """As with plain pickling, an array that must not be written to must not be there either."""
    given = np.arange(N)
    given.flags.writeable = False
    assert not crossed(given).flags.writeable


def test_later_mutation_is_not_seen() -> None:
    """The copy is made when the value is pickled."""
    given = np.zeros(N)
    blob, ticket = dumps_out_of_band(given, "strict")
    given[:] = 1
    assert (loads(blob, tuple(ticket)) == 0).all()


def test_memory_is_used_again_only_when_nobody_holds_it() -> None:
    """A slice keeps its segment; the next value then gets another, and this one when it is gone."""
    pool = Segments()
    given = _buffer(np.zeros(N))
    first = pool.place([given])
    assert first is not None
    inode = first[2]
    (view,) = arrivals.open_ticket(tuple(first))
    part = np.frombuffer(view, np.uint8)[5:9]
    del first, view
    second = pool.place([given])
    assert second is not None
    assert second[2] != inode
    del part
    third = pool.place([given])
    assert third is not None
    assert third[2] == inode
    del second, third
    pool.clear()


def test_a_ticket_opens_nothing_once_its_memory_is_used_again() -> None:
    """Nobody reads what was meant for somebody else."""
    pool = Segments()
    given = _buffer(np.zeros(N))
    old = tuple(pool.place([given]) or ())
    new = pool.place([given])
    assert new is not None
    with pytest.raises(Gone, match="used the shared memory for something else"):
        arrivals.open_ticket(old)
    del new
    pool.clear()


def test_in_transit_memory_is_kept_until_it_has_arrived() -> None:
    """A result that the sender has let go of is not overwritten before it was opened."""
    pool = Segments()
    first = tuple(pool.place([_buffer(np.ones(N))], transit=True) or ())
    second = tuple(pool.place([_buffer(np.zeros(N))], transit=True) or ())
    assert first[2] != second[2]
    assert bytes(arrivals.open_ticket(first)[0]) == np.ones(N).tobytes()
    third = pool.place([_buffer(np.zeros(N))])
    assert third is not None
    assert third[2] == first[2]
    arrivals.open_ticket(second)
    del third
    pool.clear()


def test_taken_memory_is_not_given_out_twice() -> None:
    """Its first reader may have changed it: another attempt gets an error rather than that."""
    blob, ticket = dumps_out_of_band(np.zeros(N), "strict")
    loads(blob, tuple(ticket))
    with pytest.raises(Gone, match="retries=1"):
        loads(blob, tuple(ticket))


def test_private_memory_can_be_read_again() -> None:
    """What several attempts are to read is not changed by the first one."""
    blob, ticket = dumps_out_of_band(np.zeros(N), "strict", private=True)
    first = loads(blob, tuple(ticket))
    first[:] = 1
    assert (loads(blob, tuple(ticket)) == 0).all()
    assert (first == 1).all()


def test_too_few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near RLIMIT_NOFILE values stay in the pickle, and what arrives is copied, not mapped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 64, hard))
    try:
        kept = []
        for index in range(200):
            blob, ticket = dumps_out_of_band(np.full(N, index), "strict")
            kept.append(loads(blob, tuple(ticket)))
        assert [int(each[7]) for each in kept] == list(range(200))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_memory_it_stays_in_the_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no segment can be made, the value crosses in the ordinary way."""
    pool = Segments()
    monkeypatch.setattr("procession.pickling.out_of_band.segments", pool)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE // 2, hard))
    try:
        blob, ticket = dumps_out_of_band(np.arange(N), "strict")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert ticket == ()
    assert (loads(blob) == np.arange(N)).all()


# -- two processes -------------------------------------------------------------------------------

_sizes = st.sampled_from([10, N, N + 1, 2 * N + 3, 5 * N])
_keys = st.integers(0, 4)
_commands = st.one_of(
    st.tuples(st.just("keep"), _keys, _sizes, st.integers(0, 100)),
    st.tuples(st.just("drop"), _keys),
    st.tuples(st.just("slice"), _keys, _keys, st.sampled_from([1, 2, -1])),
    st.tuples(st.just("fill"), _keys, st.integers(0, 100)),
    st.tuples(st.just("give"), _keys),
    st.tuples(st.just("forget results")),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(_commands, max_size=40))
def test_like_plain_pickling(commands: list[tuple[Any, ...]]) -> None:
    """Keeping, dropping, slicing and changing arrays on both sides never shows on the other."""
    model: dict[int, Any] = {}
    results: list[tuple[Any, Any]] = []
    for command in commands:
        kind, *rest = command
        if kind == "forget results":
            results.clear()
            continue
        if kind == "keep":
            key, size, value = rest
            given_array = np.full(size, value)
            one.submit(("keep", key, given_array)).result()
            model[key] = given_array.copy()
            given_array[:] = -1
            continue
        if rest[0] not in model:
            continue
        result = one.submit(command).result()
        if kind == "drop":
            del model[rest[0]]
        elif kind == "slice":
            model[rest[1]] = model[rest[0]][:: rest[2]]
        elif kind == "fill":
            model[rest[0]][...] = rest[1]
        else:
            assert np.array_equal(result, model[rest[0]])
            result[...] = -2  # the receiver's own
            results.append((result, np.full_like(result, -2)))
        for mine, expected in results:
            assert np.array_equal(mine, expected)
    for key, expected in model.items():
        assert np.array_equal(one.submit(("give", key)).result(), expected)
        one.submit(("drop", key)).result()


def test_a_fork_inside_a_receiver() -> None:
    """A child of the worker goes on reading an array that the worker has dropped."""
    for key in (1, 2):
        one.submit(("keep", key, np.full(N, key))).result()
    one.submit(("fork", 1)).result()
    one.submit(("drop", 1)).result()
    one.submit(("drop", 2)).result()
    for value in range(6):
        one.submit(("keep", 7, np.full(N, 50 + value))).result()
    one.submit(("drop", 7)).result()
    assert ending.submit(None).result() == 0


def test_results_stay_while_the_worker_goes_on() -> None:
    """The memory of a result is not used again as long as the caller keeps a part of it."""
    results = [each[3:5] for each in filled.imap(range(40))]
    shutdown()
    assert [int(each[1]) for each in results] == list(range(40))


def test_pandas_and_polars() -> None:
    """Data frames cross both ways, and can be changed on arrival."""
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    one_frame = pandas.DataFrame({"a": np.arange(N), "b": np.arange(N) / 2})
    (twice,) = doubled.map([one_frame])
    pandas.testing.assert_frame_equal(twice, one_frame + one_frame)
    twice.loc[3, "a"] = 17
    other = polars.DataFrame({"a": np.arange(N)})
    (both,) = doubled.map([other])
    assert both.equals(other + other)


def test_a_retry_gets_what_the_first_attempt_got() -> None:
    """Not what the first attempt has made of it."""
    assert spoil_and_die.map([np.full(N, 5.0)]) == [5.0]


def test_memory_of_a_dead_worker_is_free_again() -> None:
    """The kernel lets go for it."""
    with pytest.raises(WorkerDied):
        die.submit(np.zeros(N)).result()
    wait_until(lambda: gc.collect() is not None and not _held())


def _held() -> int:
    segments.trim()
    return len(segments._all) - len(segments._free)


def test_broadcast_is_written_once_and_stays_as_it_was() -> None:
    """All items of all workers read the same memory; a worker's writes stay its own."""
    given = np.zeros(4 * N)
    seen = parallel(workers=2, inline=False, backend="process")(peek).map(range(8), given)
    assert {first for first, _ in seen} == {0.0}
    assert len({inode for _, inode in seen}) == 1
    assert (given == 0).all()


_KILLED = """
import os, signal, sys, threading, time
import numpy as np
from procession import parallel

@parallel(workers=2, inline=False, backend={backend!r})
def work(array):
    time.sleep(0.002)
    return array + 1

def stop():
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    work.map([np.zeros(100_000)] * 4)
    threading.Thread(target=stop).start()
    while True:
        work.map([np.zeros(100_000)] * 20)
"""


@pytest.mark.parametrize("backend", ["process", "stdlib"])
def test_a_killed_parent_leaves_nothing(backend: str) -> None:
    """Memory without names goes with its last holder."""
    before = set(os.listdir("/dev/shm"))
    script = textwrap.dedent(_KILLED).format(backend=backend)
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    wait_until(lambda: not [n for n in set(os.listdir("/dev/shm")) - before if "procession" in n])


@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_other_backends(backend: Any) -> None:
    """Arguments and results cross beside the pickle there too, and may be changed on arrival."""
    arrays = [np.full(N, float(value)) for value in range(12)]
    results = parallel(workers=2, inline=False, backend=backend)(increased).map(arrays)
    for value, (result, private) in enumerate(results):
        assert private
        assert (result == value + 1).all()
        assert (arrays[value] == value).all()
        result[0] = 3


def test_a_large_result_outlives_its_worker(tmp_path: Path) -> None:
    """What was sent before the worker died is delivered, and its item does not run again."""
    path = str(tmp_path / "runs")
    work = parallel(workers=1, inline=False, backend="process", chunk=2)(large_or_death)
    outcomes = list(work.outcomes([(path, index) for index in range(8)]))
    assert [outcome.ok for outcome in outcomes] == [True, False] * 4
    assert all((each.value == each.index).all() for each in outcomes if each.ok)
    assert sorted(Path(path).read_text().split()) == [str(index) for index in range(8)]


class Cycle:
    """Takes a map that is kept when the collector ends it, and leaves the next one to it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.me = self

    def __del__(self) -> None:
        arrivals._idle.pop((0, self.number), None)
        if self.number:
            Cycle(self.number - 1)


def test_a_look_at_what_is_kept_amid_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer may take what is looked at just then."""
    kept: Any = {(0, number): SimpleNamespace(since=float("inf")) for number in range(50)}
    monkeypatch.setattr(arrivals, "_idle", OrderedDict(kept))
    thresholds = gc.get_threshold()
    gc.collect()
    Cycle(40)
    gc.set_threshold(1)
    try:
        assert arrivals.trim()
    finally:
        gc.set_threshold(*thresholds)
    assert (0, 49) in arrivals._idle
