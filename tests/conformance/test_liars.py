"""Objects that lie, at every place: the paths to them, and the pool that goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procession import NotPicklable, isolated
from tests.conformance import functions as f
from tests.conformance.places import Place, at
from tests.support import hostile as h


def paths_of(outcomes: Iterator[Any]) -> list[str | None]:
    """The path of each outcome's error; `None` where there is no error."""
    return [None if one.ok else one.error.path for one in outcomes]


def test_an_item_is_called_by_its_parameter_beside_other_arguments(processes: Place) -> None:
    """The root of a path is the parameter that takes the item, also where others are needed."""
    items: list[Any] = [1, threading.Lock(), {"a": threading.Lock()}]
    pair = at(processes, f.pair)
    assert paths_of(pair.outcomes(items, 2)) == [None, "first", "first['a']"]
    assert paths_of(pair.outcomes(items, second=2)) == [None, "first", "first['a']"]


def test_an_item_that_cannot_be_rebuilt_is_found(processes: Place) -> None:
    """The very object is named, and its class, in items and in arguments that go to each."""
    bad, good = h.Moody(False), h.Moody(True)
    pair = at(processes, f.pair)
    items: list[Any] = [1, [good, bad], {"k": h.MadeByFunction()}]
    outcomes = list(pair.outcomes(items, 2))
    assert paths_of(iter(outcomes)) == [None, "first[1]", "first['k']"]
    error: Any = outcomes[2].error
    assert error.culprit == "tests.support.hostile.MadeByFunction"
    with pytest.raises(NotPicklable) as caught:
        pair.map([1, 2], second=[good, bad])
    assert (caught.value.where, caught.value.path) == ("argument", "second[1]")
    with pytest.raises(NotPicklable) as caught:
        pair.starmap([(1, 2), (1, [bad])])
    assert caught.value.path == "second[0]"
    error = pair.submit(1, second=[good, good, bad]).exception()
    assert error.path == "second[2]"


@pytest.mark.parametrize("make", [h.MadeByFunction, h.ExitsWhenRebuilt])
def test_a_result_that_cannot_be_rebuilt_is_found(
    processes: Place, make: Callable[[], object]
) -> None:
    """A result that fails here, or would end the program, is an error of its item alone."""
    results = at(processes, f.make)
    outcomes = list(results.outcomes([int, make, int], wrapped=True))
    assert paths_of(iter(outcomes)) == [None, "result['made'][0]", None]
    assert isinstance(outcomes[1].error, NotPicklable)
    assert outcomes[1].error.where == "result"


def test_code_that_exits_while_an_argument_is_pickled(processes: Place) -> None:
    """`sys.exit` in an argument's own pickling does not end the caller."""
    error = at(processes, f.echo).submit([h.ExitsWhenPickled()]).exception()
    assert isinstance(error, NotPicklable)
    assert error.path == "value[0]"
    with pytest.raises(NotPicklable):
        at(processes, f.pair).map([1], h.ExitsWhenPickled())


def test_objects_about_which_every_question_raises(processes: Place) -> None:
    """What can be pickled is delivered, whatever else it does."""
    for kind in (h.NothingWorks, h.Incomparable):
        (outcome,) = at(processes, f.echo).outcomes([kind()])
        assert type(outcome.value) is kind


def test_an_exception_that_raises_when_asked(processes: Place) -> None:
    """An exception whose `__getattr__` raises arrives like any other."""
    error = at(processes, f.raise_made).submit(h.TouchyError).exception()
    assert type(error) is h.TouchyError


@isolated
def stream_of(values: list[str]) -> Iterator[Any]:
    """Give each, and a lock at the end."""
    yield from values
    yield {"lock": threading.Lock()}


def test_a_stream_s_value_that_cannot_be_sent() -> None:
    """A generator's value is checked like a result."""
    stream = stream_of(["a"])
    assert next(stream) == "a"
    with pytest.raises(NotPicklable) as caught:
        next(stream)
    assert (caught.value.where, caught.value.path) == ("result", "result['lock']")
    assert "stream_of()" in str(caught.value)
