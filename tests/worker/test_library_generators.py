"""The global generators of torch and OpenCV: a stream for each worker, and what a seed says."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from procession import parallel
from procession.worker.seeding import preserve, seeded

NAMES = ["torch", "cv2"]


def draw(_: int, name: str) -> float:
    """A number from a library's global generator; the worker may import it only now."""
    library = importlib.import_module(name)
    if name == "torch":
        return float(library.rand(1))
    numpy = importlib.import_module("numpy")
    return float(library.randu(numpy.zeros((1, 1)), 0.0, 1.0)[0, 0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_two_workers_share_a_stream(name: str, context: Any) -> None:
    """Whether a worker inherits the library or imports it: its numbers are its own."""
    pytest.importorskip(name)
    first = parallel(workers=1, inline=False, context=context, max_tasks_per_worker=1)(draw)
    assert len(set(first.map(range(3), name))) == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_reaches_them(name: str) -> None:
    """The same numbers here and in workers, whoever has imported the library and when."""
    pytest.importorskip(name)
    expected: list[float] = []
    for index in range(3):
        with preserve(), seeded(4, index):
            expected.append(draw(0, name))
    assert len(set(expected)) == 3
    for context in ("spawn", "fork"):
        work = parallel(workers=1, inline=False, seed=4, context=context)(draw)
        assert work.map(range(3), name) == expected


def test_torch_is_put_back() -> None:
    """An item that runs here leaves no trace, nested or not."""
    torch: Any = pytest.importorskip("torch")
    torch.manual_seed(1)
    expected = float(torch.rand(1))
    torch.manual_seed(1)
    with preserve(), seeded(4, 0):
        torch.rand(3)
        with seeded(4, 1):
            inner = float(torch.rand(1))
    assert float(torch.rand(1)) == expected
    with preserve(), seeded(4, 1):
        assert float(torch.rand(1)) == inner
