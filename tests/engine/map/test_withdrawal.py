"""A map that another than its consumer ends: what had come is never given as if it were all."""

from __future__ import annotations

from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from tests.conformance import functions as f
from tests.support.waiting import wait_for_file


def test_the_future_of_a_map_is_never_settled_with_a_part(tmp_path: Path) -> None:
    """Whoever waits for a map that is cancelled meanwhile hears of that, and gets no short list."""
    future = f.start_then_sleep.with_options(workers=2).map_async([tmp_path / "a", tmp_path / "b"])
    wait_for_file(tmp_path / "a")
    work = future._work
    assert work is not None
    assert work.cancel()  # the first half of `cancel`, before the future is marked
    with pytest.raises(CancelledError):
        future.result(60)
    assert future.cancel()
    assert future.cancelled()


@pytest.mark.parametrize("verb", ["imap", "imap_unordered", "outcomes"])
def test_an_iterator_does_not_seem_to_be_at_its_end(verb: str, tmp_path: Path) -> None:
    """One whose map was ended from elsewhere raises, and says how far it came."""
    waiting = f.start_then_wait.with_options(workers=2, inline=False)
    items = [tmp_path / "a", tmp_path / "b"]
    with getattr(waiting, verb)(items, tmp_path / "go") as results:
        (tmp_path / "go").touch()
        next(results)
        results._batches.run.withdraw()
        with pytest.raises(CancelledError, match=r"start_then_wait\(\).*incomplete"):
            list(results)
