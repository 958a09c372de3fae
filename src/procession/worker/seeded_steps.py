"""Random numbers of an item that runs step by step, in a process that draws others meanwhile."""

from __future__ import annotations

import random
from contextlib import ExitStack
from types import TracebackType

from procession.hints import Any
from procession.worker.seeding import loaded, mtrand, preserve, reseed_opencv, seeded


class SeededSteps:
    """A context around each step of one item, which goes on with its own numbers.

    Between the steps the generators are as they were before the first. OpenCV's, whose state cannot
    be read, is seeded anew for each step.

    Args:
        seed: The ``seed`` option.
        index: The item's index.
    """

    def __init__(self, seed: int, index: int) -> None:
        self._seed = seed
        self._index = index
        self._steps = 0
        self._random: Any = None
        self._numpy: Any = None
        self._torch: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(preserve())
            stack.enter_context(seeded(self._seed, self._index))
            if self._steps:
                self._go_on()
            self._stack = stack.pop_all()

    def _go_on(self) -> None:
        random.setstate(self._random)
        numpy, torch = mtrand(), loaded("torch")
        if numpy is not None and self._numpy is not None:
            numpy.set_state(self._numpy)
        if torch is not None and self._torch is not None:
            torch.set_rng_state(self._torch)
        reseed_opencv(self._seed, self._index, self._steps)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            self._steps += 1
            self._random = random.getstate()
            numpy, torch = mtrand(), loaded("torch")
            self._numpy = None if numpy is None else numpy.get_state(legacy=False)
            self._torch = None if torch is None else torch.get_rng_state()
