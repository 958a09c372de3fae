"""Of a worker, the garbage collector looks through what is the user's."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from procession import parallel


@pytest.mark.parametrize("place", [{"context": "spawn"}, {"backend": "loky"}])
def test_what_a_worker_has_loaded_for_itself_is_not_looked_through(place: dict[str, Any]) -> None:
    """It stays to the end, which comes sooner so."""
    frozen = parallel(workers=1, inline=False, **place)(gc.get_freeze_count)
    assert frozen.submit().result() > 1000
