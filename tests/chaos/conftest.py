"""No pool is kept between the tests of this folder; whatever stays is found by the next fixture."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import procession


@pytest.fixture(autouse=True)
def _pools_end() -> Iterator[None]:
    yield
    ended = threading.Event()

    def shut_down() -> None:
        procession.shutdown()
        ended.set()

    threading.Thread(target=shut_down, daemon=True).start()
    assert ended.wait(60), "shutdown() hangs"
