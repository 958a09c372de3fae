"""Shorter turns at the GIL while workers are started."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from procession.system.alarm import short_turns


@pytest.fixture(autouse=True)
def _interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


def test_turns_are_short_as_long_as_anyone_asks() -> None:
    """The interval is as before when the last one has left."""
    with short_turns:
        with short_turns:
            assert sys.getswitchinterval() < 0.001
        assert sys.getswitchinterval() < 0.001
    assert sys.getswitchinterval() == pytest.approx(0.005)


def test_the_program_s_own_choice_stays() -> None:
    """What the program sets meanwhile is not undone, and shorter turns are not made longer."""
    with short_turns:
        sys.setswitchinterval(0.01)
    assert sys.getswitchinterval() == pytest.approx(0.01)
    sys.setswitchinterval(1e-4)
    with short_turns:
        assert sys.getswitchinterval() == pytest.approx(1e-4, rel=0.1)
    assert sys.getswitchinterval() == pytest.approx(1e-4, rel=0.1)


def test_a_forked_child_has_the_usual_turns() -> None:
    """A child that is forked meanwhile does not keep them short."""
    with short_turns:
        child = os.fork()
        if child == 0:
            os._exit(0 if abs(sys.getswitchinterval() - 0.005) < 1e-4 else 1)
        assert os.waitpid(child, 0)[1] == 0
