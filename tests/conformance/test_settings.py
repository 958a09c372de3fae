"""What the caller's interpreter is set to holds for its items, wherever they run."""

from __future__ import annotations

import asyncio
import csv
import decimal
import locale
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import procession
from procession import Pool, isolated
from tests.conformance import settings_seen as s
from tests.conformance.places import Place, at


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """The interpreter's settings are those that the test began with."""
    recursion, digits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    name = locale.setlocale(locale.LC_ALL)
    with decimal.localcontext(), np.errstate(), np.printoptions():
        yield
    sys.setrecursionlimit(recursion)
    sys.set_int_max_str_digits(digits)
    socket.setdefaulttimeout(None)
    csv.field_size_limit(131072)
    locale.setlocale(locale.LC_ALL, name)


def set_all() -> None:
    """Set everything to something that is not the default."""
    context = decimal.getcontext()
    context.prec, context.rounding = 50, decimal.ROUND_UP
    context.traps[decimal.Inexact] = True
    sys.setrecursionlimit(2345)
    sys.set_int_max_str_digits(9999)
    csv.field_size_limit(1 << 20)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")


def test_maps_and_calls_see_what_was_set(place: Place) -> None:
    """A map, a single call and a call after them see the settings, and later ones the defaults."""
    before = s.seen()
    look = at(place, s.look)
    assert look.map([1, 2]) == [before] * 2
    set_all()
    there = s.seen()
    assert there["prec"] == 50
    assert there["collate"] == "C.UTF-8"
    assert look.map([1, 2]) == [there] * 2
    assert look.submit(1).result() == there
    decimal.getcontext().prec = 51
    assert look.submit(1).result() == {**there, "prec": 51}


def test_later_calls_see_the_defaults_again(place: Place) -> None:
    """A worker that has taken settings over has its own for a job that brings none."""
    look = at(place, s.look)
    assert look.map([1, 2]) == [s.seen()] * 2


def test_socket_timeout(processes: Place) -> None:
    """The default timeout of sockets crosses, and harms no channel of ours."""
    socket.setdefaulttimeout(12.5)
    assert [each["socket"] for each in at(processes, s.look).map([1, 2])] == [12.5] * 2
    assert at(processes, s.look).submit(1).result()["socket"] == 12.5


def test_numpy(place: Place) -> None:
    """Numpy's error state, callback and print options cross, also where only the item loads it."""
    look = at(place, s.look_at_numpy)
    plain = look.map([1, 2])
    np.seterr(divide="raise", under="print")
    np.seterrcall(s.complain)
    np.set_printoptions(precision=3)
    there = {**np.geterr(), "printed": "[1.235]", "call": s.complain}
    assert look.map([1, 2]) == [there] * 2
    assert look.submit(1).result() == there
    np.seterr(divide="warn", under="ignore")
    np.seterrcall(None)
    np.set_printoptions(precision=8)
    assert look.map([1, 2]) == plain


def test_a_context_is_an_item_s_own(place: Place) -> None:
    """What an item sets in its decimal context, neither its neighbours nor the caller see."""
    if place.backend == "serial":
        pytest.skip("a plain loop in the caller's own context")
    decimal.getcontext().prec = 33
    assert at(place, s.change, chunk=4).map(range(4)) == [33] * 4
    assert decimal.getcontext().prec == 33


def test_the_calling_thread_counts(place: Place) -> None:
    """Each thread's calls see that thread's decimal context."""
    got: dict[int, Any] = {}

    def run(prec: int) -> None:
        decimal.getcontext().prec = prec
        got[prec] = [each["prec"] for each in at(place, s.look).map([1, 2])]

    for prec in (40, 41):
        thread = threading.Thread(target=run, args=(prec,))
        thread.start()
        thread.join()
    assert got == {40: [40, 40], 41: [41, 41]}


def test_an_initializer_wins(processes: Place) -> None:
    """What an initializer sets in a worker stays, whatever the caller has set."""
    decimal.getcontext().prec = 44
    sys.setrecursionlimit(2222)
    sys.set_int_max_str_digits(8888)
    (there,) = at(processes, s.look, initializer=s.set_up).map([1])
    assert (there["prec"], there["recursion"], there["digits"]) == (60, 4000, 8888)


def test_without_forwarding() -> None:
    """Settings are no logs: they cross under ``forward_logs=False`` as well."""
    decimal.getcontext().prec = 45
    assert s.look.with_options(forward_logs=False, workers=1).map([1])[0]["prec"] == 45


def _stream() -> Iterator[int]:
    yield decimal.getcontext().prec


async def _coroutine() -> int:
    return decimal.getcontext().prec


def test_isolated_and_pools() -> None:
    """Isolated calls, streams and coroutines see the settings, and so do a Pool's calls."""
    decimal.getcontext().prec = 46
    assert isolated(s.seen)()["prec"] == 46
    assert list(isolated(_stream)()) == [46]
    assert asyncio.run(_awaited()) == 46
    with Pool(1) as pool:
        assert pool.submit(s.seen).result()["prec"] == 46
    limited = s.look.with_options(backend="loky", workers=1, timeout=60)
    assert limited.map([1])[0]["prec"] == 46
    procession.shutdown()


async def _awaited() -> int:
    decimal.getcontext().prec = 46
    return await isolated(_coroutine)()


async def _mapped() -> list[int]:
    decimal.getcontext().prec = 47
    return [each["prec"] async for each in s.look.with_options(workers=1).aimap([1, 2])]


def test_asynchronous_maps() -> None:
    """`aimap` and `map_async` send what the caller's thread is set to."""
    decimal.getcontext().prec = 47
    look = s.look.with_options(workers=1)
    assert asyncio.run(_mapped()) == [47, 47]
    assert [each["prec"] for each in look.map_async([1]).result()] == [47]
    procession.shutdown()


def test_folder_and_environment(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that are up follow the working folder, variables that come and go, and the zone."""
    look = at(place, s.look_around)
    assert look.map([1, 2]) == [s.surroundings()] * 2
    here = os.getcwd()
    monkeypatch.chdir(tmp_path)
    for zone in ("Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        monkeypatch.setenv("A_VARIABLE", zone)
        there = s.surroundings()
        assert there["folder"] == str(tmp_path)
        assert look.map([1, 2]) == [there] * 2
        assert look.submit(1).result() == there
    monkeypatch.undo()
    time.tzset()
    assert s.surroundings()["folder"] == here
    assert look.map([1, 2]) == [s.surroundings()] * 2


def test_an_initializer_s_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker stays in the folder that its initializer went to."""
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    look = s.look_around.with_options(
        workers=1, initializer=os.chdir, initargs=(str(tmp_path / "a"),)
    )
    assert look.map([1])[0]["folder"] == str(tmp_path / "a")
    monkeypatch.chdir(tmp_path.parent)
    assert look.map([1])[0]["folder"] == str(tmp_path / "a")


def test_other_variables_are_followed(processes: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that an initializer sets wins; what the program sets of others is seen."""
    monkeypatch.setenv("SET_BY_THE_PROGRAM", "first")
    look = at(processes, s.variables, initializer=s.set_variable, workers=1)
    assert look.map([1]) == [("theirs", "first")]
    monkeypatch.setenv("SET_BY_THE_PROGRAM", "second")
    monkeypatch.setenv("SET_BY_THE_INITIALIZER", "ours")
    assert look.map([1]) == [("theirs", "second")]
    monkeypatch.delenv("SET_BY_THE_PROGRAM")
    assert look.map([1]) == [("theirs", None)]
