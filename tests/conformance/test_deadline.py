"""`deadline`: from the call to its result, waiting for a worker included."""

from __future__ import annotations

import asyncio
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procession import (
    DeadlineExceeded,
    OptionError,
    Pool,
    TimedOut,
    background,
    isolated,
    parallel,
    parallel_chunks,
)
from tests.support.waiting import wait_until


def hang(x: int) -> int:
    """Never ends for odd items."""
    if x % 2:
        time.sleep(600)
    return x


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def tell_and_hang(path: str) -> None:
    """Say which process this is, and never end."""
    with open(f"{path}.part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{path}.part", path)
    time.sleep(600)


pytestmark = pytest.mark.usefixtures("pools_end")


def test_a_call_is_ended(tmp_path: object) -> None:
    """The error says what the limit was; the work is ended; others go on."""
    path = f"{tmp_path}/pid"
    assert background(workers=1)(hang)(2).result() == 2  # so that the worker is up
    future = background(workers=1, deadline=3.0)(tell_and_hang)(path)
    error = future.exception()
    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error, TimedOut)
    assert (error.seconds, error.index) == (3.0, None)
    assert "tell_and_hang() was not done within its deadline of 3 s" in str(error)
    pid = int(Path(path).read_text())
    wait_until(lambda: not alive(pid))
    assert parallel(workers=1)(hang).submit(2).result() == 2


def test_waiting_for_a_worker_counts() -> None:
    """A call that no worker has begun with expires as well, and does not run later."""
    stuck = parallel(workers=1)(hang)
    holder = stuck.submit(1)
    waiting = stuck.with_options(deadline=0.3).submit(2)
    assert isinstance(waiting.exception(), DeadlineExceeded)
    assert holder.cancel()


def test_in_time() -> None:
    """A call that is done in time has its result, and its worker stays."""
    f = parallel(workers=1, deadline=60.0)(hang)
    assert [f.submit(2 * x).result() for x in range(5)] == [0, 2, 4, 6, 8]
    assert f.map(range(0, 10, 2)) == [0, 2, 4, 6, 8]


def test_isolated_calls_and_pools() -> None:
    """A blocking call raises it; an awaited one, too; and a Pool's future."""
    with pytest.raises(DeadlineExceeded):
        isolated(deadline=0.5)(hang)(1)
    with Pool(1, deadline=0.5) as pool:
        assert isinstance(pool.submit(hang, 1).exception(), DeadlineExceeded)

    async def awaited() -> Any:
        return await background(workers=1, deadline=0.5)(hang)(1)

    with pytest.raises(DeadlineExceeded):
        asyncio.run(awaited())


def test_maps() -> None:
    """A map that is not done by then raises it, and its outcomes are one for each item."""
    f = parallel(workers=2, deadline=3.0, chunk=1)(hang)
    assert f.with_options(deadline=None, inline=False).map([2] * 20) == [2] * 20  # both are up
    with pytest.raises(DeadlineExceeded) as raised:
        f.map([2, 1, 4, 3, 6])
    assert raised.value.index in (1, 3, 4)
    outcomes = list(f.outcomes([2, 1, 4, 3, 6, 8, 10]))
    assert [each.index for each in outcomes] == list(range(7))
    assert [each.value for each in outcomes if each.ok] == [2, 4]
    assert {type(each.error) for each in outcomes if not each.ok} == {DeadlineExceeded}
    assert isinstance(f.map_async([1, 3]).exception(), DeadlineExceeded)
    values = f.imap([2, 1])
    assert next(values) == 2
    with pytest.raises(DeadlineExceeded):
        next(values)


def test_where_it_cannot_hold() -> None:
    """Backends that cannot end one call refuse it, and so do streams."""
    for backend in ("thread", "serial", "loky", "stdlib"):
        with pytest.raises(OptionError, match="deadline ends what is not done"):
            parallel(backend=backend, deadline=1.0)(hang)
    with pytest.raises(OptionError, match="deadline"):
        parallel_chunks(inline=True, deadline=1.0)(hang)

    def values() -> Iterator[int]:
        yield 1

    with pytest.raises(OptionError, match="timeout="):
        isolated(deadline=1.0)(values)()


def test_it_pickles() -> None:
    """The error keeps what it says."""
    error = pickle.loads(pickle.dumps(DeadlineExceeded("text", seconds=2.0, index=3)))
    assert (str(error), error.seconds, error.index) == ("text", 2.0, 3)
