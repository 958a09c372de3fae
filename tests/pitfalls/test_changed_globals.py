"""Global containers that a function changes in place are told of when it is decorated."""

# ruff: noqa: D103, RUF005, C416

from __future__ import annotations

import collections
import os
import random
import sys
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import procession
from procession.pitfalls.code_checks import pitfalls
from tests.pitfalls import changed as module

seen: list[int] = []
table: dict[Any, Any] = {}
groups: defaultdict[int, list[int]] = defaultdict(list)
known: set[int] = set()
recent: deque[int] = deque()
counts: Counter[int] = Counter()
buffer = bytearray(8)
grid = np.zeros(4)
shared_grid = procession.shared.zeros(4, "f8")
later: Any = None
local = threading.local()
state = type("State", (), {"count": 0})()


class Totals:
    """Keeps a number on the class."""

    number = 0
    names: list[str] = []


def appends(x: int) -> None:
    seen.append(x)


def sets_an_item(x: int) -> None:
    table[x] = x * 2


def deletes_an_item(x: int) -> None:
    del table[x]


def adds_to_an_item(x: int) -> None:
    table["n"] += x


def groups_items(x: int) -> None:
    groups[x % 2].append(x)


def nested_item(x: int) -> None:
    table["a"]["b"] = x


def adds(x: int) -> None:
    known.add(x)


def queues(x: int) -> None:
    recent.append(x)


def counts_it(x: int) -> None:
    counts[x] += 1


def writes_bytes(x: int) -> None:
    buffer[x] = 1


def writes_slice(x: int) -> None:
    buffer[0:x] = b""


def fills(x: int) -> None:
    grid[x] = 1.5


def of_a_module(x: int) -> None:
    module.results.append(x)


def item_of_a_module(x: int) -> None:
    module.cache[x] = x


def assigns_in_a_module(x: int) -> None:
    module.latest = x


def adds_in_a_module(x: int) -> None:
    module.total += x


def on_a_class(x: int) -> None:
    Totals.number += x


def in_a_class(x: int) -> None:
    Totals.names.append(str(x))


def inside(xs: list[int]) -> Any:
    return [seen.append(x) or x for x in xs]  # type: ignore[func-returns-value, redundant-expr]


CHANGES: dict[Callable[..., Any], str] = {
    appends: "'seen', a list",
    sets_an_item: "'table', a dict",
    deletes_an_item: "'table', a dict",
    adds_to_an_item: "'table', a dict",
    groups_items: "'groups', a dict",
    nested_item: "'table', a dict",
    adds: "'known', a set",
    queues: "'recent', a deque",
    counts_it: "'counts', a dict",
    writes_bytes: "'buffer', a bytearray",
    writes_slice: "'buffer', a bytearray",
    fills: "'grid', a numpy array",
    of_a_module: "'module.results', a list",
    item_of_a_module: "'module.cache', a dict",
    assigns_in_a_module: "'module.latest'",
    adds_in_a_module: "'module.total'",
    on_a_class: "'Totals.number'",
    in_a_class: "'Totals.names', a list",
    inside: "'seen', a list",
}


def only_once(x: int) -> bool:
    if x in table:
        return False
    table[x] = True
    return True


def counts_by_get(x: int) -> None:
    table[x] = table.get(x, 0) + 1


def groups_by_hand(x: int) -> Any:
    if x not in table:
        table[x] = []
    table[x].append(x)
    return table[x]


CHANGES |= dict.fromkeys((only_once, counts_by_get, groups_by_hand), "'table', a dict")


def keeps_results(x: int) -> Any:
    if x not in table:
        table[x] = x * 2
    return table[x]


def keeps_by_trying(x: int) -> Any:
    try:
        return table[x]
    except KeyError:
        found = table[x] = x * 2
        return found


def keeps_by_get(x: int) -> Any:
    found = table.get(x)
    if found is None:
        found = table[x] = x * 2
    return found


def makes_when_needed(x: int) -> Any:
    global later
    if later is None:
        later = [x]
    return later


def reads(x: int) -> Any:
    return seen[x], table.get(x), x in known, len(groups), [y for y in seen], sorted(known)


def reads_and_compares(x: int) -> Any:
    if seen == [x] or not table:
        return {**table}
    return seen + [x], table | {x: x}, seen[1:], known - {x}, grid + x, grid[x] * 2


def passes_on(x: int) -> Any:
    got = list(seen)
    got.append(x)
    got[0] = x
    mine = dict(table)
    mine[x] = 1
    mine.update(table)
    return got, sorted(seen, key=table.__getitem__), max(seen), got.count(table[x])


def shadows(seen: list[int], x: int) -> None:
    table = {}
    table[x] = x
    seen.append(x)


def key_only(x: dict[int, int]) -> None:
    x[seen[0]] = 5
    x[table["k"]] += 1


def makes(x: int) -> Any:
    found = collections.OrderedDict()
    found[x] = x
    rows: list[list[int]] = [[] for _ in seen]
    rows[x].append(x)
    return found, rows


def shared_memory(x: int) -> None:
    shared_grid[x] = 1.0


def of_the_process(x: int) -> None:
    sys.path.append(str(x))
    os.environ["X"] = "1"
    random.seed(x)
    local.value = x
    state.count += 1


def not_there_yet(x: int) -> None:
    later.append(x)


@pytest.mark.parametrize("function", CHANGES, ids=lambda each: each.__name__)
def test_changes_are_told(function: Callable[..., Any]) -> None:
    """What a function changes is named, with the line, once, and with what to do instead."""
    (text,) = pitfalls(function)
    assert text.startswith(f"{function.__name__}() changes the global {CHANGES[function]} (line ")
    assert "Return the value" in text


@pytest.mark.parametrize(
    "function",
    [
        reads,
        reads_and_compares,
        passes_on,
        shadows,
        key_only,
        makes,
        shared_memory,
        of_the_process,
        not_there_yet,
        keeps_results,
        keeps_by_trying,
        keeps_by_get,
        makes_when_needed,
    ],
    ids=lambda each: each.__name__,
)
def test_what_is_only_read_is_not_told(function: Callable[..., Any]) -> None:
    """Reading, copying, locals, parameters, shared memory and the process's own are no pitfalls."""
    assert pitfalls(function) == []
