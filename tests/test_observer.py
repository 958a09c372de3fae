"""When a map is told that it moves more than it computes."""

from __future__ import annotations

import pytest

from procession.observer import Traffic


@pytest.mark.parametrize(
    ("out", "back", "seconds", "word"),
    [
        (10**9, 0, 0.1, "shared.put"),
        (0, 10**9, 0.1, "Return less"),
        (10**9, 0, 5.0, None),
        (10**6, 10**6, 0.0, None),
    ],
    ids=["arguments", "results", "computes more", "too little to matter"],
)
def test_warning(out: int, back: int, seconds: float, word: str | None) -> None:
    """It names what is large and what to do; it says nothing where computing dominates."""
    traffic = Traffic()
    for _ in range(4):
        traffic.moved(2, out // 4, back // 4, seconds / 4)
    told = traffic.warning("work")
    if word is None:
        assert told is None
    else:
        assert told is not None
        assert word in told
        assert "work() moved" in told
