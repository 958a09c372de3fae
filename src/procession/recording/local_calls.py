"""Single calls that run in the calling thread, and are recorded all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any

from procession.recording.call_record import CallRecord
from procession.system.pristine import perf_counter

__all__ = ["awaited", "called", "yielded"]


def called(record: CallRecord, value: Any, seconds: float, *, failed: bool) -> None:
    """A call has run in this thread, and is over."""
    record.single = True
    record.ran_here(0, [value], seconds, failed)
    record.finish()


def yielded(record: CallRecord, value: Any, values: Iterator[Any]) -> Iterator[Any]:
    """The values of a generator that runs in this thread; each counts as an item."""
    record.single = True
    try:
        while True:
            begin = perf_counter()
            try:
                each = next(values)
            except StopIteration:
                return
            except BaseException:
                record.ran_here(0, [value], perf_counter() - begin, failed=True)
                raise
            record.ran_here(0, [value], perf_counter() - begin)
            yield each
    finally:
        record.finish()


async def awaited(record: CallRecord, value: Any, awaitable: Awaitable[Any]) -> Any:
    """What a coroutine that runs in this thread comes to."""
    begin = perf_counter()
    failed = True
    try:
        result = await awaitable
        failed = False
        return result
    finally:
        called(record, value, perf_counter() - begin, failed=failed)
