"""Random numbers of an item that runs step by step, in a process that draws others meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable

from procession.hints import Any
from procession.worker.seeding import loaded, mtrand, preserve, reseed_opencv, seeded


class SeededSteps:
    """Runs the steps of one item, each of which goes on with the item's own numbers.

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

    def __call__(self, run: Callable[..., Any], *args: Any) -> Any:
        """What a step gives, which calls `run` with `args`."""
        with preserve(), seeded(self._seed, self._index):
            if self._steps:
                self._go_on()
            self._steps += 1
            try:
                return run(*args)
            finally:
                self._keep()

    def _go_on(self) -> None:
        random.setstate(self._random)
        numpy, torch = mtrand(), loaded("torch")
        if numpy is not None and self._numpy is not None:
            numpy.set_state(self._numpy)
        if torch is not None and self._torch is not None:
            torch.set_rng_state(self._torch)
        reseed_opencv(self._seed, self._index, self._steps)

    def _keep(self) -> None:
        numpy, torch = mtrand(), loaded("torch")
        self._random = random.getstate()
        self._numpy = None if numpy is None else numpy.get_state(legacy=False)
        self._torch = None if torch is None else torch.get_rng_state()
