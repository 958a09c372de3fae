"""A forked copy of a worker never answers, and an answer says for which chunk it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from procession import WorkerDied, isolated, parallel
from tests.process.far_side import forking_items as items
from tests.support.waiting import wait_until

PLACES: tuple[dict[str, Any], ...] = (
    {},
    {"context": "fork"},
    {"backend": "loky"},
    {"backend": "stdlib"},
)


pytestmark = pytest.mark.usefixtures("pools_end")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("chunk", [1, 10])
def test_items_that_fork_and_return(place: dict[str, Any], chunk: int) -> None:
    """Whatever the child returns or raises: this map and the next have the worker's results."""
    given: dict[str, Any] = {"workers": 1, "inline": False, **place}
    second = parallel(**given)(items.second)
    for function in (items.returns, items.raises, items.forks_in_thread):
        f = parallel(**given, chunk=chunk)(function)
        assert f.map(range(3)) == [0, 1, 2]
        assert second.map(range(6)) == [0, 100, 200, 300, 400, 500]
    assert parallel(**given)(items.exits).map([0, 1]) == [0, 5]


@pytest.mark.parametrize("place", PLACES)
def test_values_that_fork(place: dict[str, Any]) -> None:
    """A result that forks where it is pickled, an argument that forks where it is unpickled."""
    given: dict[str, Any] = {"workers": 1, "inline": False, "chunk": 1, **place}
    results = parallel(**given)(items.gives).map(["nowhere", "pickled", "nowhere"])
    assert [each.stale for each in results] == [False] * 3
    there = [items.Forks("nowhere"), items.Forks("unpickled"), items.Forks("nowhere")]
    assert parallel(**given)(items.takes).map(there) == [False] * 3
    assert parallel(**given)(items.second).map(range(3)) == [0, 100, 200]


def test_isolated_calls_that_fork() -> None:
    """Neither the copy of an isolated call's process answers, nor that of a stream's."""
    assert isolated(items.returns)(1) == 1
    assert list(isolated(items.streams)(4)) == [0, 1, 2, 3]


def test_copy_says_why_it_ends(capfd: pytest.CaptureFixture[str]) -> None:
    """Its user finds out what to write instead."""
    f = parallel(workers=1, inline=False)(items.returns)
    assert f.map([0, 1]) == [0, 1]
    said = ""

    def told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "returns(), item 1, forked in a worker, came back" in said

    wait_until(told)
    assert "os._exit()" in said


@pytest.mark.parametrize("place", PLACES)
def test_initializer_that_forks(place: dict[str, Any]) -> None:
    """The copy of a worker that its initializer forks does not become another one."""
    given: dict[str, Any] = {"workers": 1, "initializer": items.forks_at_start, "initargs": ("",)}
    assert parallel(**given, **place)(items.second).map(range(4)) == [0, 100, 200, 300]


def test_children_of_items(tmp_path: Path) -> None:
    """A process that the standard library forks within an item ends as ever."""
    f = parallel(workers=1, inline=False)(items.has_child)
    assert f.map([str(tmp_path / "one"), str(tmp_path / "two")]) == ["0 done", "0 done"]


def test_answer_for_another_chunk() -> None:
    """A worker that answers for another chunk is ended, and the error says why."""
    f = parallel(workers=1, inline=False, chunk=1)(items.writes_to_channel)
    assert f.map([0, 2]) == [0, 2]
    with pytest.raises(WorkerDied, match=r"answered for chunk 99 while it ran chunk \d"):
        f.map([1])
    assert f.map([0, 2]) == [0, 2]
