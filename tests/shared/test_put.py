"""Objects that are sent once per worker."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from procession import NotPicklable, parallel, shared
from procession.shared import broadcast
from procession.wire.pickling import dumps, loads

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
    for value in (3, 2.5, None, True, Model, use):
        assert shared.put(value) is value
        assert not [entry for entry in broadcast._puts.values() if entry.target() is value]


def test_sent_as_it_was() -> None:
    """Later changes here are not seen there, nor changes there here."""
    model = shared.put(Model())
    model.weights[3] = -1
    work = parallel(workers=1, inline=False, backend="process", chunk=1)
    assert work(use).map([3], model)[0][2] == 3
    work(change).map(range(5), model)
    assert model.weights[0] == 0


def test_freed_when_dropped() -> None:
    """Weakly referenced objects at once, others with the next look."""
    model, values = shared.put(Model()), shared.put([1, 2, 3])
    keys = {broadcast._puts[id(each)].key for each in (model, values)}
    del model, values
    gc.collect()
    broadcast._sweep()
    assert keys.isdisjoint(broadcast._by_key)


def test_a_new_object_at_the_same_place_is_not_mistaken() -> None:
    """An id is used again by the next object; it must not be sent as the old one."""
    for number in range(20):
        given = shared.put([number])
        loaded: Any = loads(dumps((given,)))
        assert loaded == ([number],)
        del given
        broadcast._sweep()


def test_putting_twice_sends_once() -> None:
    """The same object is put away a single time."""
    values = [1, 2]
    shared.put(values)
    (entry,) = [each for each in broadcast._puts.values() if each.target() is values]
    shared.put(values)
    (again,) = [each for each in broadcast._puts.values() if each.target() is values]
    assert again is entry


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
