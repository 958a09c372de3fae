# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: D103
"""Futures, pools, and what comes with them."""

import concurrent.futures
from typing import assert_type

import procession
from procession import Future, Outcome, Pool, background


@background
def size(word: str) -> int:
    return len(word)


@background
def upper(word: str) -> str:
    return word.upper()


def waiting() -> None:
    assert_type(procession.gather(size("a"), upper("a")), tuple[int, str])
    assert_type(procession.gather(size("a"), size("b"), upper("a")), tuple[int, int, str])
    assert_type([f.result() for f in procession.as_completed([size("a")])], list[int])
    standard: concurrent.futures.Future[int] = size("a")
    done, _ = concurrent.futures.wait([size("a")])
    assert_type({future.result() for future in done}, set[int])
    assert_type(standard.result(), int)


def pools() -> None:
    with Pool(2) as pool:
        assert_type(pool.submit(len, "a"), Future[int])
        assert_type(list(pool.map(len, ["a"])), list[int])
        executor: concurrent.futures.Executor = pool
        assert_type(executor.submit(len, "a").result(), int)

        pool.map(len, 3)  # type: ignore[arg-type]


def outcomes(outcome: Outcome[int]) -> None:
    assert_type(outcome.value, int)
    assert_type(outcome.ok, bool)
    assert_type(outcome.error, BaseException | None)
    assert_type(outcome.index, int)
    assert_type(outcome.attempts, int)
    assert_type(outcome.seconds, float)


def errors(error: procession.WorkerDied, limit: procession.TimedOut) -> None:
    assert_type(error.exitcode, int | None)
    assert_type(limit.seconds, float)
