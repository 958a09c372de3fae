"""Who is to blame when a chunk ends early, and what the messages say."""

from __future__ import annotations

import os

import pytest

import procession
from procession.contract import Chunk, End, OneByOne
from procession.engine.policy.blame import Rules, judge, may_retry, signal_name
from procession.errors import MemoryLimitExceeded, PoolClosed, TimedOut, WorkerDied
from procession.items import Item, Job


class Nobody(OneByOne):
    """A listener that is never told anything."""

    def replied(self, chunk: Chunk, replies: object) -> None:
        """Fail."""
        raise AssertionError

    def ended(self, chunk: Chunk, end: End) -> None:
        """Fail."""
        raise AssertionError


def chunk_of(*items: Item, timeout: float | None = None, limit: int | None = None) -> Chunk:
    """A chunk that was never sent."""
    return Chunk(Job(1, "f", timeout=timeout, memory_limit=limit), items, Nobody())


def items(count: int) -> list[Item]:
    """So many items."""
    return [Item(index, index) for index in range(count)]


def test_only_the_running_item_is_to_blame() -> None:
    """The item that the dead worker was running fails; the others run again as they are."""
    three = items(3)
    verdicts = judge(chunk_of(*three), three, End("died", 1, exitcode=-11), Rules("f"))
    assert [verdict.error is None for verdict in verdicts] == [True, False, True]
    assert [item.attempt for item in three] == [1, 1, 1]
    error = verdicts[1].error
    assert isinstance(error, WorkerDied)
    assert (error.index, error.signal, error.exitcode, error.attempts) == (1, "SIGSEGV", -11, 1)


def test_retries_are_counted() -> None:
    """A guilty item runs again as often as `retries` says, and then fails with its attempts."""
    (item,) = items(1)
    rules = Rules("f", retries=2)
    end = End("died", 0, exitcode=3)
    for attempt in (2, 3):
        (verdict,) = judge(chunk_of(item), [item], end, rules)
        assert verdict.error is None
        assert item.attempt == attempt
    (verdict,) = judge(chunk_of(item), [item], end, rules)
    assert isinstance(verdict.error, WorkerDied)
    assert verdict.error.attempts == 3


def test_a_death_between_items_blames_nobody_at_first() -> None:
    """A worker that dies before any item starts is bad luck; three times in a row is the item."""
    pair = items(2)
    for _ in range(2):
        verdicts = judge(chunk_of(*pair), pair, End("died"), Rules("f"))
        assert all(verdict.error is None for verdict in verdicts)
    first, second = judge(chunk_of(*pair), pair, End("died"), Rules("f"))
    assert isinstance(first.error, WorkerDied)
    assert "before it could start the item" in str(first.error)
    assert second.error is None


def test_a_broken_executor_makes_suspects() -> None:
    """Nobody knows who broke an executor, so each item that was on it runs apart."""
    pair = items(2)
    verdicts = judge(chunk_of(*pair), pair, End("broken"), Rules("f"))
    assert [(verdict.error, verdict.apart) for verdict in verdicts] == [(None, True)] * 2


@pytest.mark.parametrize("kind", ["refused", "cancelled"])
def test_what_was_never_run_fails_with_the_reason(kind: str) -> None:
    """A chunk that could not be sent gives its reason to each item, a closed pool says so."""
    (item,) = items(1)
    reason = OSError("no memory") if kind == "refused" else None
    end = End("refused", error=reason) if kind == "refused" else End("cancelled")
    (verdict,) = judge(chunk_of(item), [item], end, Rules("f"))
    if reason is not None:
        assert repr(verdict.error) == repr(reason)
    else:
        assert isinstance(verdict.error, PoolClosed)
        assert "f() was ended because its pool was shut down" in str(verdict.error)


def test_each_item_has_an_error_of_its_own() -> None:
    """What one item's error is told is not told by the others'."""
    reason = PoolClosed("lost")
    reason.__cause__ = OSError("why")
    two = items(2)
    first, second = (
        v.error for v in judge(chunk_of(*two), two, End("refused", error=reason), Rules("f"))
    )
    assert first is not None
    assert second is not None
    first.add_note("of the first")
    assert not hasattr(second, "__notes__")
    assert (str(second), second.__cause__) == ("lost", reason.__cause__)


def test_a_stack_in_a_message_ends_with_the_users_own_frames() -> None:
    """Procession's own, and what lies below them, say nothing to a user."""
    package = os.path.dirname(procession.__file__)
    stack = f"""Current thread 0x1 (most recent call first):
  File "/home/me/job.py", line 3 in f
  File "{package}/worker/runner.py", line 10 in run
  File "/usr/lib/python3.11/multiprocessing/process.py", line 108 in run
"""
    (item,) = items(1)
    (verdict,) = judge(
        chunk_of(item, timeout=1), [item], End("timeout", 0, stack=stack), Rules("f")
    )
    assert isinstance(verdict.error, TimedOut)
    assert str(verdict.error).endswith('  File "/home/me/job.py", line 3 in f')
    assert "runner.py" in verdict.error.stack


def test_a_timeout_says_limit_item_and_stack() -> None:
    """TimedOut names function, item and limit, and shows where the worker was."""
    (item,) = items(1)
    end = End("timeout", 0, stack="File x, line 3 in f")
    (verdict,) = judge(chunk_of(item, timeout=1.5), [item], end, Rules("f"))
    error = verdict.error
    assert isinstance(error, TimedOut)
    assert (error.seconds, error.index) == (1.5, 0)
    assert "f(), item 0, ran longer than its timeout of 1.5 s" in str(error)
    assert "File x, line 3 in f" in str(error)


def test_a_memory_limit_says_limit_and_peak() -> None:
    """MemoryLimitExceeded carries both numbers, and is not tried again for `retries` alone."""
    (item,) = items(1)
    end = End("memory", 0, peak=2_000_000_000)
    (verdict,) = judge(
        chunk_of(item, limit=1_000_000_000), [item], end, Rules("f", retries=5, single=True)
    )
    error = verdict.error
    assert isinstance(error, MemoryLimitExceeded)
    assert (error.limit, error.peak, error.index) == (1_000_000_000, 2_000_000_000, None)
    assert "2000 MB of private memory, more than its memory_limit of 1000 MB" in str(error)


def test_a_memory_limit_named_in_retry_on_is_tried_again() -> None:
    """`retry_on=MemoryError` asks for another attempt after a memory limit."""
    (item,) = items(1)
    rules = Rules("f", retries=1, retry_on=(MemoryError,))
    (verdict,) = judge(chunk_of(item, limit=1), [item], End("memory", 0, peak=2), rules)
    assert verdict.error is None
    assert item.attempt == 2


def test_errors_are_retried_only_where_they_are_named() -> None:
    """`retry_on` decides which exceptions ask for another attempt, and `retries` how often."""
    (item,) = items(1)
    rules = Rules("f", retries=1, retry_on=(OSError,))
    assert not may_retry(item, ValueError(), rules)
    assert may_retry(item, FileNotFoundError(), rules)
    assert not may_retry(item, FileNotFoundError(), rules)


@pytest.mark.parametrize(
    ("code", "name"), [(-9, "SIGKILL"), (3, None), (None, None), (-200, "signal 200")]
)
def test_signals_have_names(code: int | None, name: str | None) -> None:
    """A negative exit code is a signal, known or not."""
    assert signal_name(code) == name
