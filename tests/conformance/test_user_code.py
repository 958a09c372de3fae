"""User code may do what it likes: it stops no thread that others wait for, and loses no reply.

Each test has user code hang in one place (at a gate that the test holds), and demands that all
else goes on: timeouts strike, other pools map, other callbacks are called.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import gc
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import Future, Pool, TimedOut, isolated, parallel
from procession.system import after_fork
from tests.conformance import strange
from tests.conformance.strange import PATIENCE, double, double_when, gate, ident, logs, raises
from tests.support import ENDS_WITHOUT_THREADS
from tests.support.waiting import wait_until

BACKENDS = ["process", "stdlib", "loky", "thread"]
FAR = ["process", "stdlib", "loky"]


@pytest.fixture(autouse=True)
def _gate() -> Iterator[None]:
    """Whatever hangs at the gate goes on when the test is over."""
    gate.clear()
    strange.entered.clear()
    yield
    gate.set()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    """Each local backend."""
    return request.param


def all_goes_on() -> None:
    """Whatever hangs just now: timeouts strike, pools map, callbacks are called."""
    with pytest.raises(TimedOut):
        parallel(workers=1, timeout=0.2)(time.sleep).map([PATIENCE])
    assert parallel(workers=1, inline=False)(double).map([1, 2]) == [2, 4]
    assert isolated(double)(4) == 8
    called = threading.Event()
    parallel(workers=1, inline=False)(double).submit(1).add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE)


# ------------------------------------------------------------------------------ done-callbacks


def test_a_callback_that_hangs(backend: Any, tmp_path: Path) -> None:
    """It delays no other callback, no timeout and no other pool."""
    f = parallel(workers=1, backend=backend)(double_when)
    file = tmp_path / "go"
    f.submit(1, file).add_done_callback(lambda _: strange.wait_here())
    file.touch()
    assert strange.entered.wait(PATIENCE)
    all_goes_on()
    called = threading.Event()
    f.submit(2, file).add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE)
    assert f.submit(3, file).result(PATIENCE) == 6


def test_a_callback_waits_for_its_own_pool(backend: Any, tmp_path: Path) -> None:
    """Also where the pool has one worker: that one is free by then."""
    f = parallel(workers=1, backend=backend, inline=False)(double_when)
    file = tmp_path / "go"
    got: list[Any] = []
    done = threading.Event()

    def callback(future: cf.Future[Any]) -> None:
        got.append(f.submit(future.result(), file).result(PATIENCE))
        got.append(f.map([1, 2, 3], file))
        done.set()

    f.submit(1, file).add_done_callback(callback)
    file.touch()
    assert done.wait(PATIENCE)
    assert got == [4, [2, 4, 6]]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, OSError])
def test_a_callback_that_raises(
    error: type[BaseException], backend: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """It is logged where the standard library logs it, and the next one is called."""
    f = parallel(workers=1, backend=backend)(double_when)
    file = tmp_path / "go"

    def fail(_: object) -> None:
        raise error("callback")

    called = threading.Event()
    future = f.submit(1, file)
    future.add_done_callback(fail)
    future.add_done_callback(lambda _: called.set())
    file.touch()
    assert called.wait(PATIENCE)
    assert f.submit(2, file).result(PATIENCE) == 4

    def logged() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.name == "concurrent.futures"]

    wait_until(logged)  # a thread that is held up meanwhile does not hold up the next callback
    (message,) = logged()
    assert message.startswith("exception calling callback")


def test_callbacks_of_a_map_and_of_a_call_that_was_ended() -> None:
    """They may do anything, too: after a timeout, a death, a cancel, and a whole map."""
    f = parallel(workers=1, timeout=0.2)(time.sleep)
    m = parallel(workers=1)(double)
    futures: list[Future[Any]] = [f.submit(PATIENCE), m.map_async([1, 2])]
    called: list[Any] = []
    for future in futures:
        future.add_done_callback(lambda _: strange.wait_here())
        future.add_done_callback(called.append)
    wait_until(lambda: len(called) == 2)
    all_goes_on()
    assert isinstance(futures[0].exception(), TimedOut)
    assert futures[1].result() == [2, 4]


def test_a_pool_waits_for_its_callbacks() -> None:
    """After a ``with`` block all callbacks have been called, as in the standard library."""
    called: list[int] = []
    for _ in range(5):
        with Pool(2) as pool:
            for i in range(20):
                pool.submit(double, i).add_done_callback(lambda f: called.append(f.result()))
        assert sorted(called) == [2 * i for i in range(20)]
        called.clear()


def test_a_callback_may_shut_its_pool_down() -> None:
    """It does not wait for itself."""
    pool = Pool(1)
    done = threading.Event()

    def callback(_: object) -> None:
        pool.shutdown()
        done.set()

    pool.submit(double, 1).add_done_callback(callback)
    assert done.wait(PATIENCE)


@pytest.mark.skipif(ENDS_WITHOUT_THREADS, reason="the third would need a thread of its own")
def test_the_program_ends_though_a_callback_sleeps() -> None:
    """It is given a moment, and what was told before it runs."""
    code = (
        "import time\n"
        "from procession import background, Pool\n"
        "@background\n"
        "def f(x): return x\n"
        "f(1).add_done_callback(lambda _: print('first', flush=True))\n"
        "f(2).add_done_callback(lambda _: time.sleep(600))\n"
        "f(3).add_done_callback(lambda _: print('third', flush=True))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert sorted(ran.stdout.split()) == ["first", "third"]
    assert ran.stderr == ""


# -------------------------------------------------------------------------- what is rebuilt here


@pytest.mark.parametrize("backend", FAR)
def test_a_result_that_hangs_when_rebuilt(backend: Any) -> None:
    """Whoever asks for it waits; nobody else."""
    f = parallel(workers=1, backend=backend, inline=False)(strange.gives)
    future = f.submit(strange.HangsWhenRebuilt)
    with cf.ThreadPoolExecutor(2) as threads:
        asks = threads.submit(future.result)
        maps = threads.submit(f.map, [strange.HangsWhenRebuilt] * 2)
        assert strange.entered.wait(PATIENCE)
        all_goes_on()
        assert future.done()
        assert not asks.done()
        gate.set()
        assert asks.result(PATIENCE) == "rebuilt"
        assert maps.result(PATIENCE) == ["rebuilt"] * 2
        assert future.result(0) == "rebuilt"


def test_a_result_is_rebuilt_once() -> None:
    """Whoever asks, and in whatever way, gets the same object."""
    future = parallel(workers=1, inline=False)(ident).submit([1])
    wait_until(future.done)
    with cf.ThreadPoolExecutor(4) as threads:
        got = list(threads.map(lambda _: future.result(), range(20)))
    assert all(each is got[0] for each in got)
    assert future.exception() is None
    assert "returned list" in repr(future)


def test_a_result_that_maps_when_rebuilt() -> None:
    """Rebuilding may make calls of ours, in every verb."""
    f = parallel(workers=1, inline=False)(strange.gives)
    kind = strange.MapsWhenRebuilt
    assert f.submit(kind).result(PATIENCE) == [2, 4, 6]
    assert f.map([kind, kind]) == [[2, 4, 6]] * 2
    assert list(f.imap([kind])) == [[2, 4, 6]]
    assert f.map_async([kind, kind]).result(PATIENCE) == [[2, 4, 6]] * 2
    assert isolated(strange.gives)(kind) == [2, 4, 6]


def test_map_async_whose_results_hang_when_rebuilt() -> None:
    """Nobody waits for its future here, and everything else goes on."""
    future = parallel(workers=1)(strange.gives).map_async([strange.HangsWhenRebuilt])
    assert strange.entered.wait(PATIENCE)
    all_goes_on()
    gate.set()
    assert future.result(PATIENCE) == ["rebuilt"]


def test_a_result_that_exits_when_rebuilt() -> None:
    """The call fails with the reason; the thread that brought it is not ended."""
    f = parallel(workers=1, inline=False)(strange.gives)
    for _ in range(3):
        error = f.submit(strange.ExitsWhenRebuilt).exception(PATIENCE)
        assert isinstance(error, procession.NotPicklable)
    assert f.submit(int).result(PATIENCE) == 0


@pytest.mark.parametrize("backend", FAR)
def test_an_error_that_hangs_when_rebuilt(backend: Any) -> None:
    """Whether it is one of `retry_on` can only be told then; meanwhile all goes on."""
    f = parallel(workers=1, backend=backend, inline=False, retries=1, retry_on=strange.HangsError)(
        raises
    )
    futures: list[Future[Any]] = [f.submit(os.getpid()), f.map_async([os.getpid()] * 2)]
    assert strange.entered.wait(PATIENCE)
    all_goes_on()
    gate.set()
    for future in futures:
        assert isinstance(future.exception(PATIENCE), strange.HangsError)


def test_a_call_whose_error_is_being_rebuilt_can_be_cancelled() -> None:
    """It does not run again, and its future is cancelled."""
    f = parallel(workers=1, retries=5, retry_on=strange.HangsError)(raises)
    future = f.submit(os.getpid())
    assert strange.entered.wait(PATIENCE)
    wait_until(lambda: future.cancel())
    gate.set()
    assert future.cancelled()
    assert parallel(workers=1, inline=False)(double).map([1]) == [2]


# -------------------------------------------------------------------------------- what is sent


def test_items_that_hang_when_pickled() -> None:
    """Those of a map, of `map_async`, and of a call: their own caller waits, nobody else."""
    f = parallel(workers=1, inline=False)(ident)
    items = [1, 2, 3, strange.HangsWhenSent(), 5]
    with cf.ThreadPoolExecutor(4) as threads:
        waiting = [
            threads.submit(f.map, items),
            threads.submit(lambda: list(f.imap(items))),
            threads.submit(lambda: f.map_async(items).result(PATIENCE)),
        ]
        call = threads.submit(lambda: f.submit(strange.HangsWhenSent()).result(PATIENCE))
        assert strange.entered.wait(PATIENCE)
        all_goes_on()
        gate.set()
        assert [each.result(PATIENCE) for each in waiting] == [[1, 2, 3, 7, 5]] * 3
        assert call.result(PATIENCE) == 7


def test_items_that_make_calls_when_pickled() -> None:
    """Of the same function and pool, in every verb."""
    f = parallel(workers=1, inline=False)(ident)
    pool = Pool(1)
    calls: list[Callable[[], Any]] = [
        lambda: f.submit(3).result(PATIENCE),
        lambda: f.map([3])[0],
        lambda: pool.submit(ident, 3).result(PATIENCE),
    ]
    for call in calls:
        item: Any = strange.MapsWhenSent(call)
        assert f.submit(item).result(PATIENCE) == 3
        assert f.map([item, item]) == [3, 3]
        assert f.map_async([item, item]).result(PATIENCE) == [3, 3]
        assert pool.submit(ident, item).result(PATIENCE) == 3
    pool.shutdown()


def test_an_argument_that_shuts_its_pool_down_when_pickled() -> None:
    """The call is refused as any other after the shutdown."""
    pool = Pool(1)

    def end() -> int:
        pool.shutdown()
        return 1

    before = set(after_fork.outstanding)
    with pytest.raises(procession.PoolClosed):
        pool.submit(ident, strange.MapsWhenSent(end))
    assert after_fork.outstanding <= before  # or a shutdown that drains would wait for it


# ------------------------------------------------------------------------- log records, warnings


class Handler(logging.Handler):
    """Does what it is told to with each record."""

    def __init__(self, act: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self.act = act

    def emit(self, record: logging.LogRecord) -> None:
        """Do it."""
        self.act(record)


@pytest.fixture
def handlers() -> Iterator[Callable[[Callable[[logging.LogRecord], object]], None]]:
    """Adds handlers to the logger of these tests, and takes them away."""
    logger = logging.getLogger("strange")

    def add(act: Callable[[logging.LogRecord], object]) -> None:
        logger.addHandler(Handler(act))

    yield add
    logger.handlers.clear()


def _fail(error: type[BaseException]) -> Callable[[object], None]:
    def fail(_: object) -> None:
        raise error("log server is down")

    return fail


@pytest.mark.parametrize("error", [OSError, SystemExit])
@pytest.mark.filterwarnings("ignore:warned")
def test_a_handler_that_raises(
    error: type[BaseException], handlers: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """No reply is lost, the other handlers get the record, and logging says what was wrong."""
    good: list[str] = []
    handlers(_fail(error))
    handlers(lambda record: good.append(record.getMessage()))
    f = parallel(workers=1, inline=False)(logs)
    assert f.submit(1).result(PATIENCE) == 1
    assert f.map([2, 3]) == [2, 3]
    assert list(f.imap([4])) == [4]
    assert [o.value for o in f.outcomes([5])] == [5]
    assert f.map_async([6]).result(PATIENCE) == [6]
    assert asyncio.run(_aimap(f, [7])) == [7]
    assert isolated(logs)(8) == 8
    assert good == [f"item {i}" for i in range(1, 9)]
    assert "Logging error" in capfd.readouterr().err


async def _aimap(f: Any, items: list[int]) -> list[int]:
    return [x async for x in f.aimap(items)]


@pytest.mark.filterwarnings("ignore:warned")
def test_a_filter_that_raises(capfd: pytest.CaptureFixture[str]) -> None:
    """A logger's filter is a handler in this."""
    logger = logging.getLogger("strange")
    broken = _fail(OSError)
    logger.addFilter(broken)  # type: ignore[arg-type]
    try:
        assert parallel(workers=1, inline=False)(logs).map([1, 2]) == [1, 2]
    finally:
        logger.removeFilter(broken)  # type: ignore[arg-type]
    assert "log server is down" in capfd.readouterr().err


@pytest.mark.filterwarnings("default:warned")
def test_a_showwarning_that_raises(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the call nor the next warning suffers."""
    shown: list[str] = []

    def show(message: Any, *_: Any) -> None:
        shown.append(str(message))
        raise SystemExit("no terminal")

    monkeypatch.setattr(warnings, "showwarning", show)
    f = parallel(workers=1, inline=False)(logs)
    assert f.map([1, 2]) == [1, 2]
    assert f.submit(3).result(PATIENCE) == 3
    assert shown == ["warned 1", "warned 2", "warned 3"]
    assert "no terminal" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore:warned")
def test_a_handler_that_hangs_where_nobody_waits(handlers: Any) -> None:
    """The records of calls that nobody waits for are handled aside."""
    handlers(lambda _: strange.wait_here())
    f = parallel(workers=1, inline=False)(logs)
    future = f.submit(1)
    future.add_done_callback(lambda _: None)  # so that somebody reads it
    assert strange.entered.wait(PATIENCE)
    assert future.done()
    all_goes_on()
    gate.set()
    assert future.result(PATIENCE) == 1


@pytest.mark.filterwarnings("ignore:warned")
def test_a_handler_that_asks_for_the_result_and_maps(handlers: Any) -> None:
    """Handlers may use what they are told of, and the library."""
    got: list[Any] = []
    f = parallel(workers=1, inline=False)(logs)
    g = parallel(workers=2, inline=False)(double)
    future: list[Future[int]] = []

    def act(_: object) -> None:
        got.append(g.map([1, 2]))
        if future:
            got.append(future[0].done())

    handlers(act)
    future.append(f.submit(1))
    assert future[0].result(PATIENCE) == 1
    assert got == [[2, 4], True]


@pytest.mark.filterwarnings("ignore:warned")
def test_each_attempt_is_told_once(handlers: Any) -> None:
    """Records of attempts that failed come home, too; none of them twice."""
    seen: list[str] = []
    handlers(lambda record: seen.append(record.getMessage()))
    f = parallel(workers=1, retries=2, retry_on=LookupError)(strange.logs_and_fails)
    assert isinstance(f.submit(1).exception(PATIENCE), LookupError)
    wait_until(lambda: len(seen) == 3)
    with pytest.raises(LookupError):
        f.map([2])
    wait_until(lambda: len(seen) == 6)
    assert seen == ["item 1"] * 3 + ["item 2"] * 3


# ------------------------------------------------------------------------------- finalizers, gc


class Freed:
    """Tells, when it goes, which thread has let it go."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def __reduce__(self) -> Any:
        return int, (1,)

    def __del__(self) -> None:
        self._told.append(threading.current_thread().name)


def test_what_was_sent_is_freed_by_no_thread_that_others_wait_for() -> None:
    """The last to hold an item may be the thread that brings its result."""
    told: list[str] = []
    f = parallel(workers=2, inline=False, chunk=3)(ident)
    for _ in range(20):
        f.submit(Freed(told))
        f.map_async([Freed(told) for _ in range(6)])
        asyncio.run(_awaited(f, told))
        f.map([Freed(told) for _ in range(6)])
        list(f.imap([Freed(told) for _ in range(6)]))
    wait_until(lambda: len(told) == 20 * 20)
    assert "procession-reactor" not in told


async def _awaited(f: Any, told: list[str]) -> None:
    assert await f.submit(Freed(told)) == 1


class Owner:
    """Holds an iterator in a cycle, so that only the collector finds it."""

    def __init__(self, held: Any) -> None:
        self.me, self.held = self, held


@pytest.fixture
def eager_gc() -> Iterator[None]:
    """The collector strikes all the time."""
    before = gc.get_threshold()
    gc.set_threshold(20)
    yield
    gc.set_threshold(*before)
    gc.collect()


@pytest.mark.usefixtures("eager_gc")
@pytest.mark.parametrize("way", ["imap", "imap_unordered", "outcomes"])
def test_forgotten_iterators(way: str, backend: Any) -> None:
    """The collector may find them amid any step of another map."""
    f = parallel(workers=2, inline=False, chunk=1, backend=backend)(double)
    rounds = 20 if backend in ("process", "thread") else 3
    for _ in range(rounds):
        iterator = getattr(f, way)(range(30))
        for _ in range(4):
            next(iterator)
        Owner(iterator)
        del iterator
        assert list(f.imap(range(10))) == [2 * x for x in range(10)]


@pytest.mark.usefixtures("eager_gc")
def test_forgotten_async_iterators() -> None:
    """The same in a coroutine."""
    f = parallel(workers=2, chunk=1)(double)

    async def run() -> None:
        for _ in range(15):
            iterator = f.aimap(range(30))
            for _ in range(4):
                await iterator.__anext__()
            Owner(iterator)
            del iterator
            assert [x async for x in f.aimap(range(10))] == [2 * x for x in range(10)]

    asyncio.run(run())
    gc.collect()


@pytest.mark.usefixtures("eager_gc")
def test_forgotten_iterators_of_a_pool_and_of_futures() -> None:
    """Generators that the collector ends take no lock either."""
    f = parallel(workers=2, inline=False)(double)
    with Pool(2) as pool:
        for _ in range(15):
            mapped = pool.map(double, range(30), buffersize=10)
            done = procession.as_completed([f.submit(i) for i in range(10)])
            for _ in range(4):
                next(mapped)
                next(done)
            Owner((mapped, done))
            del mapped, done
            assert list(pool.map(double, range(10))) == [2 * x for x in range(10)]
            assert f.map(range(3)) == [0, 2, 4]


def test_a_forgotten_iterator_ends_what_runs() -> None:
    """What it had begun is ended, and its worker is there for others."""
    f = parallel(workers=1, inline=False, chunk=1)(time.sleep)
    iterator = f.imap([0, PATIENCE, PATIENCE])
    next(iterator)
    del iterator
    assert list(f.imap([0])) == [None]


# ----------------------------------------------------------------- no lock over the user's code


def _in_a_thread(act: Callable[[], Any]) -> Any:
    with cf.ThreadPoolExecutor(1) as threads:
        return threads.submit(act).result(PATIENCE)


numbers: Any = procession.per_worker(int)


def _other_value() -> int:
    return 1 + int(_in_a_thread(lambda: numbers.value))


others: Any = procession.per_worker(_other_value)


def test_a_factory_waits_for_a_thread_that_needs_another_value() -> None:
    """A value of a worker is built under no lock."""
    assert others.value == 1


_begun: list[int] = []


def _begin_by_a_thread() -> None:
    if not _begun:
        _begun.append(1)
        _in_a_thread(lambda: parallel(backend="serial", initializer=_begin)(double).map([1]))


def _begin() -> None:
    _begun.append(2)


def test_an_initializer_waits_for_a_thread_that_needs_another_one() -> None:
    """The same for initializers that run here."""
    f = parallel(backend="serial", initializer=_begin_by_a_thread)(double)
    assert f.map([1]) == [2]
    assert _begun == [1, 2]


class Initial:
    """An initializer's argument whose pickling needs another pool, in another thread."""

    def __reduce__(self) -> Any:
        _in_a_thread(lambda: parallel(workers=1, inline=False)(double).map([1]))
        return int, ()


def test_an_initializer_whose_pickling_needs_a_pool() -> None:
    """Pools are found, and made, under no lock."""
    for backend in ("process", "stdlib"):
        f = parallel(workers=1, backend=backend, initializer=ident, initargs=(Initial(),))(double)
        assert f.map([1]) == [2]


class Shown:
    """Its repr waits for the gate."""

    def __repr__(self) -> str:
        strange.wait_here()
        return "shown"

    def __reduce__(self) -> Any:
        return int, (1,)


def test_a_profile_of_items_whose_repr_hangs() -> None:
    """What was slow is taken down by nobody that others wait for."""
    with procession.profile() as profile:
        future = parallel(workers=1)(ident).submit(Shown())
        future.add_done_callback(lambda _: None)
        assert strange.entered.wait(PATIENCE)
        all_goes_on()
        gate.set()
        assert future.result(PATIENCE) == 1
    assert "shown" in profile.summary()


# ------------------------------------------------------------------------------- the thread dies


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_reactor_dies() -> None:
    """What waits fails, with the reason; what comes next has a new one."""
    from procession.process.io.reactor import reactor

    f = parallel(workers=1, inline=False)(time.sleep)
    f.submit(0).result(PATIENCE)
    for _ in range(2):
        futures: list[Future[Any]] = [f.submit(PATIENCE), f.submit(0), f.map_async([0])]
        poller: Any = reactor._poller
        poller._epoll.close()
        reactor.call_soon(lambda: None)  # it learns of it now, unless it has already
        for future in futures:
            error = future.exception(PATIENCE)
            assert isinstance(error, procession.PoolClosed)
            assert re.search(r"died of (ValueError|OSError: \[Errno 9\])", str(error))
        assert f.map([0, 0]) == [None, None]
        assert f.submit(0).result(PATIENCE) is None
