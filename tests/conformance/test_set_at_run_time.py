"""An error that comes of a global set at run time has a note that says so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance import also_set
from tests.conformance import set_at_run_time as m
from tests.conformance.places import Place, at

PLACES = (Place("process"), Place("loky"), Place("stdlib"))


@pytest.fixture
def set_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The globals are set in this process."""
    monkeypatch.setattr(m, "DATA", {1: 1})
    monkeypatch.setitem(m.TABLE, "a", 1)
    monkeypatch.setattr(m, "LATER", [1], raising=False)
    monkeypatch.setattr(m, "LIMIT", 30)
    monkeypatch.setattr(also_set, "MODEL", Place("x"))


CASES = {
    m.score: "DATA is None in the worker, and a dict that is not empty in your process",
    m.look_up: "TABLE is an empty dict in the worker, and a dict that is not empty in your process",
    m.missing: "LATER is not there in the worker, and a list that is not empty in your process",
    m.of_another: "also_set.MODEL is None in the worker, and a Place in your process",
    m.over_the_limit: "LIMIT is 3 in the worker, and 30 in your process",
}


@pytest.mark.usefixtures("set_here")
@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("function", CASES, ids=lambda each: each.__name__)
def test_a_note_says_what_differs(place: Place, function: Any) -> None:
    """The note names the global, what it is there and here, and what to do."""
    error: Any = at(place, function).submit("a" if function is m.look_up else 7).exception()
    notes = "\n".join(error.__notes__)
    assert CASES[function] in notes
    assert "initializer=" in notes


@pytest.mark.parametrize("function", [m.fails, m.score], ids=lambda each: each.__name__)
def test_no_note_where_nothing_differs(function: Any) -> None:
    """An error for another reason has no such note."""
    error: Any = at(Place("process"), function).submit(1).exception()
    assert not any("in the worker, and" in note for note in error.__notes__)
