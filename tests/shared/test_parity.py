"""What multiprocessing's objects can be asked, ours can be asked in the same words."""

from __future__ import annotations

import inspect
from multiprocessing import connection, queues, sharedctypes, synchronize
from typing import Any

import pytest

from procession import shared

PAIRS: dict[str, tuple[Any, type]] = {
    "Lock": (shared.Lock, synchronize.Lock),
    "RLock": (shared.RLock, synchronize.RLock),
    "Semaphore": (shared.Semaphore, synchronize.Semaphore),
    "BoundedSemaphore": (shared.BoundedSemaphore, synchronize.BoundedSemaphore),
    "Event": (shared.Event, synchronize.Event),
    "Condition": (shared.Condition, synchronize.Condition),
    "Barrier": (shared.Barrier, synchronize.Barrier),
    "Value": (shared.Synchronized, sharedctypes.Synchronized),
    "Array": (shared.SynchronizedArray, sharedctypes.SynchronizedArray),
    "characters": (shared.SynchronizedString, sharedctypes.SynchronizedString),
    "Queue": (shared.Queue, queues.Queue),
    "JoinableQueue": (shared.Queue, queues.JoinableQueue),
    "Connection": (shared.Connection, connection.Connection),
}


def _public(thing: Any) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}


def _parameters(method: Any) -> list[tuple[str, Any]] | None:
    try:
        signature = inspect.signature(method)
    except (ValueError, TypeError):
        return None  # written in C
    return [(each.name, each.default) for each in signature.parameters.values()]


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_words(name: str) -> None:
    """Every public method is there, with the same parameters and defaults."""
    ours, theirs = PAIRS[name]
    mine = _public(ours)
    for word, method in _public(theirs).items():
        assert word in mine
        expected = _parameters(method) if callable(method) else None
        if expected is not None:
            assert _parameters(mine[word]) == expected, word


@pytest.mark.parametrize("kind", [shared.Lock, shared.RLock, shared.Semaphore, shared.Condition])
def test_acquire_and_release(kind: Any) -> None:
    """multiprocessing gives these two to each instance, written in C."""
    lock = kind()
    assert _parameters(lock.acquire) == [("block", True), ("timeout", None)]
    assert _parameters(lock.release) == []


@pytest.mark.parametrize("kind", [shared.Semaphore, shared.BoundedSemaphore])
def test_a_semaphore_counts_whole_permits(kind: Any) -> None:
    """As in multiprocessing, a number that is not whole is a type error."""
    for wrong in (2.5, "2"):
        with pytest.raises(TypeError, match="integer"):
            kind(wrong)
    with pytest.raises(ValueError, match="-1"):
        kind(-1)
