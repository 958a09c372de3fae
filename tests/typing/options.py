# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: D103
"""How decorators are written: bare, with options, as a plain call."""

from concurrent.futures import ThreadPoolExecutor
from typing import assert_type

import procession
from procession import background, isolated, parallel, parallel_chunks, parallel_map
from procession.typing import Background, Isolated, Parallel, ParallelChunks, ParallelMap


def square(number: int) -> float:
    return number * 2.0


def join(pieces: list[list[float]]) -> list[float]:
    return [value for piece in pieces for value in piece]


@parallel_map()
def empty_brackets(number: int) -> float:
    return 0.0


@parallel_map(workers=2, timeout=5, memory_limit="512MB", retries=2, retry_on=OSError)
def with_options(number: int) -> float:
    return 0.0


@parallel_chunks(chunk=10, combine=join)
def chunks(numbers: list[int]) -> list[float]:
    return []


def decorators() -> None:
    assert_type(parallel(workers=2)(square).map([1]), list[float])
    assert_type(parallel_map(workers=2)(square)([1]), list[float])
    assert_type(parallel_map(square, workers=2)([1]), list[float])
    assert_type(parallel_chunks(workers=2)(square)(1), float)
    assert_type(background(workers=2)(square)(1).result(), float)
    assert_type(isolated(timeout=5)(square)(1), float)
    assert_type(empty_brackets([1]), list[float])
    assert_type(with_options([1]), list[float])
    assert_type(chunks([1]), list[float])
    with ThreadPoolExecutor() as executor:
        assert_type(parallel(backend=executor)(square)(1), float)

    parallel(worker=2)  # type: ignore[call-overload]
    parallel_map(workers="two")  # type: ignore[call-overload]
    parallel_chunks(timeout="5s")  # type: ignore[call-overload]
    background(retries=None)  # type: ignore[call-overload]
    isolated(timout=5)  # type: ignore[call-overload]
    parallel(4)  # type: ignore[call-overload]
    parallel_map("thread")  # type: ignore[call-overload]
    parallel_map(square, worker=2)  # type: ignore[call-overload]
    parallel(workers=2)(4)  # type: ignore[arg-type]


def copies() -> None:
    keeping: Parallel[[int], float] = parallel(square).with_options(workers=2)
    mapping: ParallelMap[[int], float] = parallel_map(square).with_options(workers=2)
    chunking: ParallelChunks[[int], float] = parallel_chunks(square).with_options(workers=2)
    starting: Background[[int], float] = background(square).with_options(workers=2)
    alone: Isolated[[int], float] = isolated(square).with_options(workers=2)
    assert_type(keeping(1), float)
    assert_type(mapping.with_options(timeout=None)([1]), list[float])
    assert_type(chunking.with_options(chunk="auto").map([1]), list[float])
    assert_type(starting(1).result(), float)
    assert_type(alone(1), float)

    mapping.with_options(worker=2)  # type: ignore[call-arg]
    mapping.with_options(chunk="big")  # type: ignore[arg-type]
    mapping.with_options(workers=2)(["a"])  # type: ignore[list-item]


def elsewhere() -> None:
    procession.configure(workers=2)
    with procession.options(backend="serial", timeout=None):
        pass
    assert_type(parallel(square).options.workers, int)
    assert_type(parallel(square).options.timeout, float | None)
    assert_type(procession.usable_cpus(), int)

    procession.configure(worker=2)  # type: ignore[call-arg]
    procession.options(nested="maybe")  # type: ignore[arg-type]
    procession.paralel_map(square)  # type: ignore[attr-defined]
