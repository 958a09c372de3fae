"""Chunks that are divided while they run, and results that are kept until their chunk ends."""

from __future__ import annotations

import os
import pickle
import random
import signal
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import parallel
from procession.contract import Chunk
from procession.items import Column
from procession.pickling.columns import pack_values
from procession.process.pool.worker_pool import WorkerPool

WORD = struct.Struct("=q")


def note(path: str, index: int) -> None:
    """Note that an item runs, for whoever counts."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, WORD.pack(index))
    finally:
        os.close(file)


def noted(path: Path) -> Counter[int]:
    """How often each item has run."""
    return Counter(index for (index,) in WORD.iter_unpack(path.read_bytes()))


def noting(x: int, path: str, seconds: list[float]) -> int:
    """Takes its time, which another item's is not."""
    note(path, x)
    if seconds[x % len(seconds)]:
        time.sleep(seconds[x % len(seconds)])
    return os.getpid()


def short(x: int) -> int:
    """Nothing."""
    return x


def test_who_has_finished_is_given_half_of_the_rest(tmp_path: Path) -> None:
    """One worker's items take long, the other's nothing: both run the long ones, each once."""
    f = parallel(workers=2, inline=False)(noting)
    parallel(workers=2, inline=False)(short).map(range(100))
    path = tmp_path / "ran"
    ran = f.map(range(2000), path=str(path), seconds=[0.001] * 1000 + [0.0] * 1000)
    assert noted(path) == Counter(range(2000))
    share = Counter(ran[:1000])
    assert len(share) == 2
    assert min(share.values()) > 100


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("values", ["numbers", "pickles"])
def test_each_item_runs_once_wherever_a_chunk_is_divided(
    tmp_path: Path, seed: int, values: str
) -> None:
    """Items of any length, in any order; as themselves and pickled."""
    rng = random.Random(seed)
    seconds = [rng.choice([0, 0, 0, 1e-5, 1e-4, 1e-3]) for _ in range(97)]
    path = tmp_path / "ran"
    f = parallel(workers=3, inline=False)(noting_any)
    parallel(workers=3, inline=False)(short).map(range(100))
    for count in (3, 50, 600):
        items: list[Any] = list(range(count))
        if values == "pickles":
            items = [{x} for x in items]
        assert f.map(items, path=str(path), seconds=seconds) == list(range(count))
        assert noted(path) == Counter(range(count))
        path.unlink()


def test_items_that_are_longer_than_those_of_the_last_map(tmp_path: Path) -> None:
    """All was sent out at once, as those were short: what one worker has too much is divided."""
    f = parallel(workers=2, inline=False)(noting)
    path = tmp_path / "ran"
    f.map(range(2000), path=str(path), seconds=[0.0])
    f.map(range(2000), path=str(path), seconds=[0.0])
    path.unlink()
    ran = f.map(range(200), path=str(path), seconds=[0.01] * 100 + [0.0] * 100)
    assert noted(path) == Counter(range(200))
    assert min(Counter(ran[:100]).get(worker, 0) for worker in set(ran)) > 10


def test_a_first_map_shares_out_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once items were measured in new workers, too."""
    procession.shutdown()
    sent: list[int] = []
    start = WorkerPool.start

    def counted(pool: WorkerPool, chunk: Chunk, ahead: int = 0) -> None:
        sent.append(len(chunk))
        start(pool, chunk, ahead)

    monkeypatch.setattr(WorkerPool, "start", counted)
    path = tmp_path / "ran"
    f = parallel(workers=2, inline=False)(noting)
    ran = f.map(range(600), path=str(path), seconds=[0.002])
    assert noted(path) == Counter(range(600))
    assert len(set(ran)) == 2
    assert len(sent) < 40
    assert max(sent) > 60


@pytest.mark.parametrize("value", [7, {7}, [7]], ids=["numbers", "pickles", "rows"])
def test_a_column_in_two(value: object) -> None:
    """Both parts hold their own items, whatever they are packed as."""
    packed = pack_values([value] * 10, "strict")
    assert packed is not None
    column = Column(range(10), [value] * 10, packed.body, plain=packed.plain)
    size = column.size
    rest = column.divide(6)
    assert (len(column), len(rest)) == (6, 4)
    assert list(rest.indexes) == [6, 7, 8, 9]
    assert (len(pickle.loads(column.body)), len(pickle.loads(rest.body))) == (6, 4)
    assert column.size + rest.size == size


def noting_any(x: Any, path: str, seconds: list[float]) -> int:
    """The same of a number in a set; gives the number."""
    index: int = x if isinstance(x, int) else next(iter(x))
    noting(index, path, seconds)
    return index


def killed_once(x: int, path: str) -> int:
    """Takes 3 ms; ends its worker at one item, the first time."""
    note(path, x)
    time.sleep(0.003)
    if x == 12 and noted(Path(path))[12] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_what_was_kept_for_10_ms_does_not_run_again(tmp_path: Path) -> None:
    """No message had brought it: it was found in the memory of the worker that has died."""
    path = tmp_path / "ran"
    f = parallel(workers=1, inline=False, chunk=50, retries=1)(killed_once)
    assert f.map(range(50), path=str(path)) == list(range(50))
    ran = noted(path)
    assert [ran[x] for x in range(6)] == [1] * 6
    assert ran[12] == 2
    assert max(ran.values()) == 2


def failing(x: int, path: str) -> int:
    """Raises amid many."""
    note(path, x)
    if x == 300:
        raise LookupError(x)
    time.sleep(0.001)
    return x


def test_an_error_is_not_kept(tmp_path: Path) -> None:
    """It ends the map soon, whatever its workers still have."""
    parallel(workers=2, inline=False)(short).map(range(100))
    path = tmp_path / "ran"
    with pytest.raises(LookupError):
        parallel(workers=2, inline=False)(failing).map(range(100_000), path=str(path))
    assert len(noted(path)) < 30_000
