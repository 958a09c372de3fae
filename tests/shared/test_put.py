"""Objects that are sent once per worker."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import procession
from procession import Future, NotPicklable, isolated, parallel, shared
from procession.pickling.objects import is_a
from procession.pickling.out_of_band import bytes_out_of_band, put_keys
from procession.pickling.pickler import dumps, loads
from tests.support.waiting import wait_for_file

BACKENDS = ["process", "loky", "stdlib"]


class Model:
    """Counts how often it is rebuilt."""

    rebuilt = 0

    def __init__(self) -> None:
        self.weights = np.arange(20_000.0)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        Model.rebuilt += 1


def use(index: int, model: Model) -> tuple[int, int, float, bool]:
    """Which process, how often it was sent the model there, and what it found."""
    weights = model.weights
    return os.getpid(), Model.rebuilt, float(weights[index]), weights.flags.owndata


def second(pair: tuple[int, Any]) -> tuple[int, int]:
    """Which process, and which object it got."""
    return os.getpid(), id(pair[1])


def change(index: int, held: Any) -> int:
    """Change the worker's own copy."""
    held.weights[0] = index
    return index


@pytest.mark.parametrize("backend", BACKENDS)
def test_sent_once_per_worker(backend: Any) -> None:
    """Over several maps and items, each worker rebuilds it once, without copying its array."""
    model = Model()
    assert shared.put(model) is model
    work = parallel(workers=2, inline=False, backend=backend, chunk=1)(use)
    seen = [*work.map(range(10), model), *work.map(range(10), model)]
    assert {rebuilt for _, rebuilt, _, _ in seen} == {1}
    assert [value for _, _, value, _ in seen] == [*range(10), *range(10)]
    assert not any(owned for _, _, _, owned in seen)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [1, 2, 3],
        lambda: {"a": 1},
        lambda: (*[1, 2], 3),
        lambda: {1, 2},
        lambda: "".join(["text"] * 9000),
        lambda: bytes(100_000),
        lambda: np.arange(5),
    ],
    ids=["list", "dict", "tuple", "set", "str", "bytes", "array"],
)
def test_what_can_be_put(make: Callable[[], object]) -> None:
    """Containers, strings and arrays are one object per worker, as an argument or in an item."""
    value = make()
    given = shared.put(value)
    assert given is value
    work = parallel(workers=1, inline=False, backend="process", chunk=1)(second)
    assert len(set(work.map([(index, given) for index in range(5)]))) == 1


def test_small_things_are_themselves() -> None:
    """Numbers, classes and functions cross as they are."""
    before = set(put_keys)
    for value in (3, 2.5, None, True, Model, use):
        assert shared.put(value) is value
    assert put_keys <= before


def test_sent_as_it_was() -> None:
    """Later changes here are not seen there, nor changes there here."""
    model = shared.put(Model())
    model.weights[3] = -1
    work = parallel(workers=1, inline=False, backend="process", chunk=1)
    assert work(use).map([3], model)[0][2] == 3
    work(change).map(range(5), model)
    assert model.weights[0] == 0


def test_freed_when_dropped() -> None:
    """Weakly referenced objects at once, others with the next that is put."""
    before = set(put_keys)
    model, values = shared.put(Model()), shared.put([1, 2, 3])
    keys = put_keys - before
    assert len(keys) == 2
    del model, values
    gc.collect()
    shared.put(None)
    assert keys.isdisjoint(put_keys)


def test_a_new_object_at_the_same_place_is_not_mistaken() -> None:
    """An id is used again by the next object; it must not be sent as the old one."""
    for number in range(20):
        given = shared.put([number])
        loaded: Any = loads(dumps((given,)))
        assert loaded == ([number],)
        del given
        shared.put(None)  # looks what only it has any more


KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "list": (lambda: [0], lambda held: held[0]),
    "dict": (lambda: {0: 0}, lambda held: held[0]),
    "bytearray": (lambda: bytearray(200_000), lambda held: held[0]),
    "array": (lambda: np.zeros(5), lambda held: held[0]),
    "large array": (lambda: np.zeros(100_000), lambda held: held[0]),
    "object": (Model, lambda held: held.weights[0]),
    "array in a list": (lambda: [np.zeros(50_000)], lambda held: held[0][0]),
    "object in a dict": (lambda: {"a": [Model()]}, lambda held: held["a"][0].weights[0]),
}


def set_first(held: Any, value: int) -> None:
    """Change the first number in it, wherever that is."""
    while not is_a(held, np.ndarray, bytearray):
        inner: Any = held.weights if is_a(held, Model) else _first(held)
        if is_a(inner, int):
            break
        held = inner
    held[0] = value


def _first(held: Any) -> Any:
    return next(iter(held.values())) if is_a(held, dict) else held[0]


def first_of(_: int, name: str, held: Any) -> float:
    """What it finds in a snapshot."""
    return float(KINDS[name][1](held))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", KINDS)
def test_each_put_is_a_new_snapshot(backend: Any, name: str) -> None:
    """Put again after a change, workers that had the old one get the new; without, they do not."""
    held = KINDS[name][0]()
    work = parallel(workers=2, inline=False, backend=backend, chunk=1)(first_of)
    for value in (1, 2):
        set_first(held, value)
        assert shared.put(held) is held
        set_first(held, 99)
        assert set(work.map(range(6), name, held)) == {value}
        assert work.submit(0, name, held).result() == value
        assert work.starmap([(0, name, held)]) == [value]


def test_each_put_is_a_new_snapshot_in_a_process_of_its_own() -> None:
    """The same for isolated calls, and after the pools were shut down."""
    held = [np.zeros(50_000)]
    work = isolated(first_of)
    for value in (1, 2, 3):
        held[0][0] = value
        shared.put(held)
        assert work(0, "array in a list", held) == value
        procession.shutdown()
        assert set(work.map([0, 0], "array in a list", held)) == {value}


def test_what_was_sent_before_gets_the_snapshot_of_then(tmp_path: Path) -> None:
    """A call that waits for a worker keeps what it was sent, whatever is put meanwhile."""
    work = parallel(workers=1, inline=False, backend="process")
    go = tmp_path / "go"
    both: list[Any] = [Model(), [np.zeros(50_000)]]
    for held in both:
        name = "object" if isinstance(held, Model) else "array in a list"
        busy = work(wait_for_file).submit(go)
        calls: list[Future[float]] = []
        maps: list[Future[list[float]]] = []
        for value in (1, 2, 3):
            set_first(held, value)
            shared.put(held)
            calls.append(work(first_of).submit(0, name, held))
            maps.append(work(first_of).map_async([0], name, held))
        go.touch()
        busy.result()
        assert [call.result() for call in calls] == [1, 2, 3]
        assert [call.result() for call in maps] == [[1], [2], [3]]
        go.unlink()


def test_a_snapshot_that_nobody_needs_is_given_back() -> None:
    """Putting an object again and again keeps no older one, here or in the workers."""
    model = Model()
    work = parallel(workers=1, inline=False, backend="process")(first_of)
    keys: list[object] = []
    for value in range(5):
        set_first(model, value)
        before = set(put_keys)
        shared.put(model)
        keys += put_keys - before
        assert work.map([0], "object", model) == [value]
    gc.collect()
    assert [key for key in keys if key in put_keys] == keys[-1:]


def test_within_another_it_is_as_it_is_now() -> None:
    """What is put inside what is put holds the inner object as it is, not as it once was put."""
    inner = shared.put([0])
    outer: list[Any] = [inner, shared.put(Model())]
    inner[0] = 5
    outer[1].weights[0] = 6
    shared.put(outer)
    there = loads(dumps(bytes_out_of_band(outer)))
    assert there[0] == [5]
    assert there[1].weights[0] == 6


def test_items_that_run_here_see_the_snapshot() -> None:
    """What changed since is seen neither here nor there, so that one call sees one value."""
    held = [np.zeros(5)]
    shared.put(held)
    held[0][0] = 9
    work = parallel(workers=1)(first_of)
    assert set(work.map(range(50), "array in a list", held)) == {0}


def test_here_it_is_a_snapshot_too() -> None:
    """Whoever loads it in the process where it was put finds what was put."""
    held = shared.put(np.zeros(5))
    sent = dumps([held])
    held[0] = 9
    one, other = loads(sent)[0], loads(sent)[0]
    assert one is other
    assert one.tolist() == [0, 0, 0, 0, 0]


def test_unpicklable_objects_say_where() -> None:
    """The path to the culprit, as for an argument."""
    with pytest.raises(NotPicklable, match=r"obj\[1\]\['k'\]"):
        shared.put([1, {"k": threading.Lock()}])


def test_threads_share_the_object() -> None:
    """Nothing is sent where workers are threads."""
    given = shared.put([1, 2, 3])
    work = parallel(workers=2, backend="thread")(second)
    assert {which for _, which in work.map([(1, given), (2, given)])} == {id(given)}


def test_dropped_while_a_map_runs() -> None:
    """An argument is kept for those workers that have not opened it yet."""
    work = parallel(workers=2, inline=False, backend="process", chunk=1, window=2)(use)
    results = work.imap(iter(range(12)), shared.put(Model()))
    gc.collect()
    assert [value for _, _, value, _ in results] == list(range(12))
