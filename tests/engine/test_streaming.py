"""The values of a generator function that runs in a process of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from procession.backends.process import IsolatedStream
from tests.clusters.functions import silent
from tests.support.waiting import wait_until


def test_a_stream_that_another_thread_closes_gives_nothing_more(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """It ends for who waits for its next value; that is no shutdown."""
    waits: list[bool] = []
    take = IsolatedStream.take

    def noting(self: IsolatedStream) -> Any:
        waits.append(True)
        return take(self)

    monkeypatch.setattr(IsolatedStream, "take", noting)
    stream: Any = silent(tmp_path)
    with ThreadPoolExecutor(1) as beside:
        values = beside.submit(list, stream)
        wait_until(lambda: len(waits) == 2)
        stream.close()
        assert values.result(60) == [0]
