"""Workers are killed at random while they use everything: nothing hangs, nothing is corrupted."""

from __future__ import annotations

import os

import pytest

from tests.shared.soak import soak


def test_random_kills_for_a_moment() -> None:
    """Five seconds of it."""
    assert soak(5, seed=7) > 10


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_random_kills() -> None:
    """Ten minutes of it, or as many seconds as ``SOAK_SECONDS`` says."""
    assert soak(float(os.environ.get("SOAK_SECONDS", "600")), seed=os.getpid()) > 100
