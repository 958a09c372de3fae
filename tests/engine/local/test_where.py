"""Where a call's items are going to run."""

from __future__ import annotations

import procession
from procession import parallel
from procession.engine.call import Call
from procession.engine.local.where import Where


def same(x: int) -> int:
    """Nothing."""
    return x


def test_a_pool_that_was_found_is_not_used_once_it_is_shut_down() -> None:
    """A map looks whether a pool is up. When it sends, that may have been shut down."""
    f = parallel(workers=1, inline=False)(same)
    f.map([1])
    call: Call = f._call()  # type: ignore[attr-defined]
    where = Where(call, blocking=True)
    assert where.look()
    found = where.backend()
    assert where.backend() is found
    procession.shutdown()
    assert where.backend() is not found
