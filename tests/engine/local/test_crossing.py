"""What cannot cross is refused wherever it happens to run, and always in the same words."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

import procession
from procession import NotPicklable, parallel
from procession.engine.local.crossing import Budget, Checks, result_refusal

SHORT, LONG = 6, 200
_socket = socket.socket()
_socket.close()


@dataclass
class Holder:
    """A class of the user's, whose type says nothing of what it holds."""

    held: object


class Text(str):
    """A text that may hold something."""

    __slots__ = ("held",)
    held: object


def text(held: object) -> Text:
    """A text that holds it."""
    made = Text("text")
    made.held = held
    return made


def nothing(_: int) -> None:
    """No value."""


def nested(i: int) -> object:
    """A list in a list."""
    return [i, [i]]


def some_text(i: int) -> str:
    """A text of either type."""
    return text(i) if i % 2 else "text"


KINDS: dict[str, tuple[Callable[[int], object], Callable[[], object]]] = {
    "lock": (lambda i: i, threading.Lock),
    "socket": (lambda i: float(i), lambda: _socket),
    "generator": (str, lambda: iter(generated([]))),
    "lambda": (nothing, lambda: lambda: 0),
    "dictionary": (lambda i: {"a": i}, lambda: {"a": threading.Lock()}),
    "list": (nested, lambda: [1, [threading.Lock()]]),
    "object": (Holder, lambda: Holder(threading.Lock())),
    "text": (some_text, lambda: text(threading.Lock())),
}


@parallel(workers=2)
def takes(x: object) -> str:
    """What cannot cross is the item."""
    return type(x).__name__


@parallel(workers=2)
def gives(x: tuple[str, int, int]) -> object:
    """What cannot cross is the result of item `bad`."""
    kind, index, bad = x
    good, make = KINDS[kind]
    return make() if index == bad else good(index)


def _told(error: Exception) -> tuple[object, ...]:
    where, path = getattr(error, "where", None), getattr(error, "path", None)
    return type(error), where, path, str(error), _bare(getattr(error, "__notes__", []))


def _bare(value: object) -> str:
    """Its repr, without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _ends(run: Callable[[], object]) -> list[object]:
    try:
        return [_bare(run())]
    except Exception as error:
        return [_told(error)]


def _each(values: Iterator[Any]) -> list[object]:
    """Everything that comes of an iterator that goes on after errors."""
    came: list[object] = []
    while True:
        try:
            came.append(_bare(next(values)))
        except StopIteration:
            return came
        except Exception as error:
            came.append(_told(error))


VERBS: dict[str, Callable[[Any, Any], list[object]]] = {
    "map": lambda f, xs: _ends(lambda: f.map(xs)),
    "starmap": lambda f, xs: _ends(lambda: f.starmap((x,) for x in xs)),
    "starmap of a list": lambda f, xs: _ends(lambda: f.starmap([(x,) for x in xs])),
    "imap": lambda f, xs: _each(f.imap(xs)),
    "imap_unordered": lambda f, xs: sorted(_each(f.imap_unordered(xs)), key=repr),
    "outcomes": lambda f, xs: [
        (each.index, _told(each.error) if each.error else _bare(each.value))
        for each in f.outcomes(xs)
    ],
}

PLACES = [
    *[(kind, SHORT, 3) for kind in KINDS],
    *[(kind, SHORT, bad) for kind in ("lock", "object") for bad in (0, SHORT - 1)],
    ("dictionary", LONG, 3),
    ("lock", LONG, LONG - 1),
]


def generated(values: list[Any]) -> Iterator[object]:
    """The same from a generator."""
    yield from values


def inputs(verb: str) -> Iterator[tuple[Any, Callable[[], Iterable[object]]]]:
    """Each function with an input in which one value cannot cross.

    What is looked at does not depend on the verb: all kinds are tried with one, some with each.
    """
    for kind, count, bad in PLACES:
        if verb != "map" and kind not in ("lock", "dictionary", "text"):
            continue
        good, make = KINDS[kind]
        items = [make() if i == bad else good(i) for i in range(count)]
        arguments = [(kind, i, bad) for i in range(count)]
        for function, given in ((takes, items), (gives, arguments)):
            yield function, partial(list, given)
            if kind == "lock":
                yield function, partial(generated, given)


@pytest.fixture(scope="module")
def expected() -> Callable[[str], list[list[object]]]:
    """What comes of all inputs in workers."""
    known: dict[str, list[list[object]]] = {}

    def of(verb: str) -> list[list[object]]:
        if verb not in known:
            known[verb] = [
                VERBS[verb](function.with_options(inline=False), make())
                for function, make in inputs(verb)
            ]
        return known[verb]

    return of


@pytest.mark.parametrize("where", ["cold", "warm", "warm and tiny", "inline=True"])
@pytest.mark.parametrize("verb", VERBS)
def test_refused_as_in_a_worker(
    verb: str, where: str, expected: Callable[[str], list[list[object]]]
) -> None:
    """Items and results that cannot cross are refused here as there, in the same place."""
    wanted = expected(verb)
    assert any("NotPicklable" in repr(each) for each in wanted)
    if where == "cold":
        procession.shutdown()
    if where == "warm":
        takes.submit(0).result()
    for (function, make), want in zip(inputs(verb), wanted, strict=True):
        if where == "warm and tiny":
            function.map([("lock", 1, 2)] * 5)
        if where == "inline=True":
            function = function.with_options(inline=True)
        assert VERBS[verb](function, make()) == want


@pytest.mark.parametrize("backend", ["thread", "serial"])
def test_what_shares_this_process_crosses_nothing(backend: str) -> None:
    """On thread and serial items and results are the caller's own objects, locks included."""
    here = takes.with_options(backend=backend)
    assert here.map([1, 2, 3, threading.Lock()])[-1] == "lock"
    there = gives.with_options(backend=backend)
    assert [type(each).__name__ for each in there.imap([("lock", i, 3) for i in range(4)])][3] == (
        "lock"
    )


def test_items_here_are_the_callers_own() -> None:
    """An item that was checked is not a copy, and neither is a result."""
    procession.shutdown()
    same = parallel(workers=2)(gives_back).with_options(inline=True)
    holders = [Holder(i) for i in range(5)]
    assert all(a is b for a, b in zip(same.map(holders), holders, strict=True))


def gives_back(x: object) -> object:
    """The item."""
    return x


def test_numbers_are_pickled_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items and results that hold nothing cost no pickling of ours."""

    def refused(*_: object) -> None:
        raise AssertionError("pickled")

    monkeypatch.setattr("procession.engine.local.crossing.dumps", refused)
    for value in (1, 2.0, "text", b"bytes", None, True, 1j):
        checks = Checks(lambda index, value: None, "strict", Budget())
        assert checks.first(0, [value] * 3000) is None


@pytest.mark.parametrize("count", [4, 64, 65, 300, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_the_place_of_the_first_that_is_refused(kind: str, count: int) -> None:
    """With time enough, the first is found wherever it stands, and those behind it wait."""
    good, make = KINDS[kind]
    for bad in (0, count // 2, count - 1):
        budget = Budget()
        budget.earned, budget.ran = 3600.0, 1
        values = [make() if i >= bad else good(i) for i in range(count)]
        refused = Checks(result_refusal("f", "strict"), "strict", budget).first(0, values)
        assert refused is not None
        assert refused.at == bad
        assert isinstance(refused.error, NotPicklable)
        assert refused.error.where == "result"


def test_without_time_the_first_values_and_types_are_checked() -> None:
    """Of items that take no time, the first 64 are pickled, and the first of each type."""
    refusal = result_refusal("f", "strict")
    many: list[object] = [Holder(i) for i in range(5000)]
    checks = Checks(refusal, "strict", Budget())
    early = [*many[:50], Holder(threading.Lock()), *many]
    refused = checks.first(0, early)
    assert refused is not None
    assert refused.at == 50
    checks = Checks(refusal, "strict", Budget())
    assert checks.first(0, many) is None
    refused = checks.first(5000, [*many, {"a": 1}, threading.Lock(), *many])
    assert refused is not None
    assert refused.at == 5001


def test_large_values_are_checked_three_times() -> None:
    """Of values that are large, and items that take no time, the first three are pickled."""
    taken: list[int] = []

    class Counted:
        def __reduce__(self) -> Any:
            taken.append(1)
            return str, ("x" * 100_000,)

    checks = Checks(result_refusal("f", "strict"), "strict", Budget())
    assert checks.first(0, [Counted() for _ in range(50)]) is None
    assert len(taken) <= 7


@pytest.mark.timeout(20)
def test_numbers_after_a_value_that_took_long_are_looked_at_in_pieces() -> None:
    """There is no time to look at all of them at once, and there may never be."""
    checks = Checks(result_refusal("f", "strict"), "strict", Budget())
    assert checks.first(0, [("x" * 1_000_000, 1)]) is None
    assert checks.first(1, list(range(1000))) is None


def test_values_that_share_parts_take_no_time_to_look_at() -> None:
    """What refers to the same parts again and again is pickled with a memo."""
    tangled: list[object] = []
    for _ in range(60):
        tangled = [tangled, tangled]
    cyclic: list[object] = []
    cyclic.append(cyclic)
    checks = Checks(result_refusal("f", "strict"), "strict", Budget())
    assert checks.first(0, [tangled, cyclic]) is None
