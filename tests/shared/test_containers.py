"""Dict, List and Namespace: like the ordinary ones, and like a manager's."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, MutableMapping, MutableSequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession import NotPicklable, shared
from tests.shared import jobs
from tests.shared.jobs import Start


def test_many_write_one_dict(start: Start) -> None:
    """Nothing is lost."""
    mapping = shared.Dict[Any, int]()
    processes = [start(jobs.write_keys, mapping, name, 50) for name in "abc"]
    for process in processes:
        process.join(60)
    assert mapping == {(name, number): -number for name in "abc" for number in range(1, 50)}


def test_many_append_to_one_list(start: Start) -> None:
    """Nothing is lost, and each one's order is kept."""
    items = shared.List[Any]()
    processes = [start(jobs.append_to, items, name, 50) for name in "abc"]
    for process in processes:
        process.join(60)
    for name in "abc":
        assert [number for one, number in items if one == name] == list(range(50))


def set_attributes(namespace: Any, name: str) -> None:
    """Set one, delete another."""
    setattr(namespace, name, [name])
    del namespace.doomed


def test_a_namespace(start: Start) -> None:
    """Attributes set there are seen here."""
    namespace = shared.Namespace(doomed=1, count=2)
    process = start(set_attributes, namespace, "there")
    process.join(60)
    assert (namespace.there, namespace.count) == (["there"], 2)
    assert repr(namespace) == "Namespace(count=2, there=['there'])"
    assert "there" in dir(namespace)
    for name in ("doomed", "_private"):
        with pytest.raises(AttributeError, match=name):
            getattr(namespace, name)
        with pytest.raises(AttributeError, match=name):
            delattr(namespace, name)


def test_reading_gives_a_copy() -> None:
    """A change of it must be assigned."""
    mapping = shared.Dict(a=[1])
    mapping["a"].append(2)
    assert mapping["a"] == [1]
    mapping["a"] = [*mapping["a"], 2]
    assert mapping["a"] == [1, 2]


def test_every_method_of_a_dict() -> None:
    """Step by step as an ordinary one."""
    mapping, model = shared.Dict({"a": 1}, b=2), {"a": 1, "b": 2}
    assert isinstance(mapping, MutableMapping)
    each: Any
    fails: Any
    for each in (mapping, model):
        each["c"] = 3
        each.update({"d": 4}, e=5)
        each |= {"f": 6}
        assert each.setdefault("a", 9) == 1
        assert each.setdefault("g", 7) == 7
        assert each.pop("b") == 2
        assert each.pop("b", None) is None
        assert each.popitem() == ("g", 7)
        assert each.get("c") == 3
        assert each.get("z") is None
        assert each.get("z", 0) == 0
        del each["c"]
        assert list(each) == ["a", "d", "e", "f"]
        assert list(reversed(each)) == ["f", "e", "d", "a"]
        assert ("a" in each, "c" in each, len(each)) == (True, False, 4)
        for fails in (lambda e: e["c"], lambda e: e.pop("c"), lambda e: e.__delitem__("c")):
            with pytest.raises(KeyError, match="c"):
                fails(each)
        assert each | {"z": 1} == {**each, "z": 1}
        assert {"z": 1} | each == {"z": 1, **each}
    assert mapping == model
    assert list(mapping.items()) == list(model.items())
    assert list(mapping.keys()) == list(model.keys())
    assert list(mapping.values()) == list(model.values())
    assert type(mapping.copy()) is dict
    assert repr(mapping) == f"Dict({model!r})"
    mapping.clear()
    assert not mapping
    with pytest.raises(KeyError, match="empty"):
        mapping.popitem()
    with pytest.raises(TypeError, match="unhashable"):
        mapping[[]] = 1  # type: ignore[index]


def test_every_method_of_a_list() -> None:
    """Step by step as an ordinary one."""
    items, model = shared.List([3, 1]), [3, 1]
    assert isinstance(items, MutableSequence)
    each: Any
    fails: Any
    for each in (items, model):
        each.append(2)
        each.extend([5, 4])
        each += (9,)
        each.insert(0, 0)
        each.insert(-1, 8)
        each.insert(99, 7)
        assert each.pop() == 7
        assert each.pop(0) == 0
        each.remove(5)
        each.sort()
        each.sort(key=lambda x: -x, reverse=True)
        each.reverse()
        each[0] = 10
        each[-1:] = [1, 1]
        each[::2] = [6] * len(each[::2])
        del each[1]
        del each[::3]
        each *= 2
        assert each.index(6) == 0
        assert each.count(1) == 2
        assert (6 in each, 77 in each) == (True, False)
        assert each + [1] == [*each, 1]  # noqa: RUF005
        assert each * 2 == 2 * each == [*each, *each]
        assert list(reversed(each)) == [*each][::-1]
        for fails in (lambda e: e[99], lambda e: e.pop(99), lambda e: e.__delitem__(99)):
            with pytest.raises(IndexError):
                fails(each)
        with pytest.raises(IndexError, match="assignment"):
            each[99] = 1
        with pytest.raises(ValueError, match="size"):
            each[::2] = [1]
        for fails in (lambda e: e.remove(99), lambda e: e.index(99)):
            with pytest.raises(ValueError):
                fails(each)
    assert items == model == items.copy()
    assert items != [1]
    assert items != "x"
    assert items[1:3] == model[1:3]
    assert repr(items) == f"List({model!r})"
    items.clear()
    assert not items
    with pytest.raises(IndexError, match="empty"):
        items.pop()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.slices(12), st.lists(st.integers(), max_size=4)), max_size=12))
def test_slices_like_an_ordinary_list(steps: list[tuple[slice, list[int]]]) -> None:
    """Assigned and deleted, whatever they are."""
    items, model = shared.List(range(6)), list(range(6))
    for at, new in steps:
        outcomes: list[str] = []
        each: Any
        for each in (items, model):
            try:
                each[at] = new
                outcomes.append("")
            except ValueError as error:
                outcomes.append(str(error))
            if len(each) > 10:
                del each[at]
        assert outcomes[0] == outcomes[1]
        assert items == model


def read_everything(mapping: Any, items: Any, seen: Any) -> None:
    """Attach late, and report all of it."""
    seen.put((mapping.copy(), items.copy()))


def test_the_log_stays_short(start: Start) -> None:
    """However often things change; and who comes late, or was away, sees the same."""
    mapping, items, seen = shared.Dict[int, Any](), shared.List[Any](), shared.Queue[Any]()
    early = start(read_everything, mapping, items, seen)
    early.join(60)
    assert seen.get(timeout=60) == ({}, [])
    chance = random.Random(3)
    for number in range(2000):
        mapping[chance.randrange(30)] = number
        items.append(number)
        if len(items) > 30:
            del items[:15]
    mapping[0] = b"x" * 1_000_000
    mapping[0] = 0
    for number in range(1000):
        mapping[1] = number
    late = start(read_everything, mapping, items, seen)
    late.join(60)
    assert seen.get(timeout=60) == (mapping.copy(), items.copy())
    assert mapping._state.read()[2] < 1 << 22
    assert items._state.read()[2] <= 1 << 18


def test_killed_writers_corrupt_nothing(fork: Start) -> None:
    """Killed in the middle of whatever they do, many times."""
    mapping, items = shared.Dict[Any, int](), shared.List[Any]()
    for at in range(10):
        writers = [
            fork(jobs.write_keys, mapping, str(at), 1_000_000),
            fork(jobs.append_to, items, str(at), 1_000_000),
        ]
        before = len(items)
        while len(items) < before + 20 or (str(at), 20) not in mapping:
            pass
        for writer in writers:
            writer.kill()
            writer.join()
    assert all(abs(value) == number for (_, number), value in mapping.items())
    for at in range(10):
        numbers = [number for name, number in items if name == str(at)]
        assert numbers == list(range(len(numbers)))


def test_shared_objects_inside() -> None:
    """They are kept as long as they are in."""
    mapping = shared.Dict[str, Any]()
    for number in range(100):
        mapping["queue"] = shared.Queue[int]()
        mapping["queue"].put(number)
    assert mapping["queue"].get() == 99
    assert len(mapping._kept) <= 65


@pytest.mark.parametrize(
    ("put", "path"),
    [
        (lambda: shared.Dict[str, Any]().__setitem__("k", [threading.Lock()]), "value[0]"),
        (lambda: shared.Dict[Any, int]().__setitem__((1, threading.Lock()), 2), "key[1]"),
        (lambda: shared.Dict[str, Any]().update(k={"a": threading.Lock()}), "value['a']"),
        (lambda: shared.List[Any]().append(threading.Lock()), "value"),
        (lambda: shared.List[Any]([1, (threading.Lock(),)]), "value[0]"),
        (lambda: setattr(shared.Namespace(), "name", [threading.Lock()]), "value[0]"),
        (lambda: shared.Pipe()[0].send([threading.Lock()]), "obj[0]"),
    ],
)
def test_what_cannot_cross_is_refused_by_its_path(put: Callable[[], object], path: str) -> None:
    """As an argument is, and nothing is changed."""
    with pytest.raises(NotPicklable) as caught:
        put()
    assert caught.value.path == path
    assert "shared." in str(caught.value)


class Own:
    """A key that only its own process can rebuild. No two pickles of it are alike."""

    made = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return hash(self.number)

    def __eq__(self, other: object) -> bool:
        return type(other) is Own and self.number == other.number

    def __reduce__(self) -> Any:
        Own.made += 1
        return own_key, (self.number, os.getpid(), Own.made)


def own_key(number: int, pid: int, made: int) -> Own:
    """Rebuild one."""
    if pid != os.getpid():
        raise LookupError("not here")
    return Own(number)


def look_at_odd_keys(mapping: Any, asked: Any, told: Any) -> None:
    """Do with a dict what needs no key of another process, each time that it is asked."""
    for number in iter(asked.get, None):
        mapping[number] = "there"
        try:
            keys: Any = sorted(mapping)
        except LookupError as error:
            keys = error.__notes__
        told.put((mapping["a"], len(mapping), list(mapping.values()), keys))


def test_keys_that_another_process_cannot_rebuild(start: Start) -> None:
    """They count there, and are no error but where keys are asked for; then they are gone."""
    mapping = shared.Dict[Any, Any]()
    mapping["a"] = 1
    asked, told = shared.Queue[Any](), shared.Queue[Any]()
    process = start(look_at_odd_keys, mapping, asked, told)
    note = "This key of a shared.Dict was put in by a process that can rebuild it."
    for value in (2, 3):  # the second one replaces the first
        mapping[Own(1)] = value
        asked.put("b")
        assert told.get(timeout=60) == (1, 3, [1, value, "there"], [note])
    assert (mapping[Own(1)], mapping["b"], len(list(mapping))) == (3, "there", 3)
    assert mapping.pop(Own(1)) == 3
    asked.put("c")
    assert told.get(timeout=60) == (1, 3, [1, "there", "there"], ["a", "b", "c"])
    asked.put(None)
    process.join(60)
    with pytest.raises(LookupError):
        mapping[Foreign()] = 1
    assert list(mapping) == ["a", "b", "c"]


class Foreign:
    """A key that no process can rebuild."""

    def __reduce__(self) -> Any:
        return own_key, (1, 0, 0)
