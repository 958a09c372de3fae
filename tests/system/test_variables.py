"""The environment's variables, which are read again only after a change."""

from __future__ import annotations

import os

import pytest

from procession.system import cpython
from procession.system.identity import variables


@pytest.mark.parametrize("known", [True, False])
def test_they_follow_each_change(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """A new one, another value, one that is gone: also where the encoded ones are not known."""
    if not known:
        monkeypatch.setattr(cpython, "environment", None)
    assert variables() == dict(os.environ)
    for value in ("a", "b"):
        monkeypatch.setenv("PROCESSION_TEST_VARIABLE", value)
        assert variables()["PROCESSION_TEST_VARIABLE"] == value
    monkeypatch.delenv("PROCESSION_TEST_VARIABLE")
    assert "PROCESSION_TEST_VARIABLE" not in variables()
    assert variables() == dict(os.environ)


def test_what_was_given_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is being started is told what held when its start began."""
    given = variables()
    before = dict(given)
    monkeypatch.setenv("PROCESSION_TEST_VARIABLE", "a")
    assert given == before
    assert variables() is not given
    assert variables() is variables()
