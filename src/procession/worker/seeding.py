"""Random numbers that depend on (seed, index) alone, and streams that no two workers share.

`random` and the global generators of numpy, torch and OpenCV are seeded before each item, and put
back after it. So an item draws the same numbers in any chunk, worker or backend, and leaves no
trace. Generators that user code makes itself (``numpy.random.default_rng``, ``random.Random``) are
not touched.

Torch and OpenCV start with one and the same seed in every process, and a forked numpy goes on with
its parent's. So a worker gives each of them a stream of its own (`reseed`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from types import TracebackType

from procession.hints import Any
from procession.system import after_fork, import_hooks

_MTRAND = "numpy.random.mtrand"
"""The module that holds numpy's global generator."""


def item_seed(seed: int, index: int) -> int:
    """A 256-bit number for one item, the same on every machine and Python version.

    A cryptographic hash (BLAKE2b, RFC 7693) rather than ``seed + index``: with sums, item 1 of
    seed 0 is item 0 of seed 1, and neighbouring seeds give correlated Mersenne Twister streams
    (Matsumoto et al. 2007, "Common defects in initialization of pseudorandom number generators").
    """
    from hashlib import blake2b

    digest = blake2b(f"procession:{seed}:{index}".encode(), digest_size=32).digest()
    return int.from_bytes(digest, "little")


class seeded:
    """A context in which the global generators are seeded for one item; they are put back after.

    `random` takes the lower half of the item's number and numpy the upper one: both are Mersenne
    Twisters, and would draw the same numbers from the same half. Takes about 50 µs.

    Args:
        seed: The ``seed`` option.
        index: The item's index.
    """

    __slots__ = ("_number", "_numpy", "_others", "_outer", "_random")

    def __init__(self, seed: int, index: int) -> None:
        self._number = item_seed(seed, index)

    def __enter__(self) -> None:
        import random  # most workers seed nothing, and need not load it

        self._random = random.getstate()
        self._outer = _hook.words
        random.seed(self._number & (1 << 128) - 1)
        words = [self._number >> shift & 0xFFFFFFFF for shift in (128, 160, 192, 224)]
        _hook.begin(words)
        module = mtrand()
        self._numpy = None if module is None else _Exchange(module, words)
        self._others = _libraries.begin(self._number)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import random

        _libraries.end(self._others)
        _hook.end(self._outer)
        random.setstate(self._random)
        if self._numpy is not None:
            self._numpy.undo()
        elif (module := mtrand()) is not None:
            module.seed(None)  # the item imported it, so nothing was drawn from it before


class preserve:
    """A context around `seeded` for an item that runs in the caller's own process.

    It adds what a worker does without: numpy's spare normal deviate is kept as well, and no other
    seeded item runs meanwhile. The generators belong to the whole process, so seeded items that
    share one (the thread backend, inline maps in several threads) run one after another.
    """

    __slots__ = ("_module", "_state")

    def __enter__(self) -> None:
        _one_at_a_time.acquire()
        self._module = mtrand()
        self._state = None if self._module is None else self._module.get_state(legacy=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._module is not None:
                self._module.set_state(self._state)
        finally:
            _one_at_a_time.release()


_one_at_a_time = after_fork.rlock()


def reseed(*, forked: bool) -> None:
    """Give a worker streams of its own, from the system's entropy.

    Python reseeds `random` in a forked child by itself. Numpy does not (numpy issue 9650), so that
    all workers would draw the same numbers.

    Args:
        forked: Whether the worker has its parent's state.
    """
    _libraries.reseed()
    module = mtrand() if forked else None
    if module is None:
        return
    generator = module.get_bit_generator()
    if type(generator).__name__ == "MT19937":
        module.seed(None)
    else:  # numpy reseeds its default kind only; another kind is replaced
        module.set_bit_generator(type(generator)())


def mtrand() -> Any:
    """Numpy's module, if it was imported; it is not imported to find out."""
    module = sys.modules.get(_MTRAND)
    # While another thread is still importing it, it has no generator yet.
    return module if hasattr(module, "get_bit_generator") else None


class _Exchange:
    """Another generator in the place of numpy's global one.

    Saving and restoring the state of the generator itself takes 120 µs, exchanging it 1 µs.
    """

    __slots__ = ("_kept", "_module", "_ours")

    spare: list[Any] = []

    def __init__(self, module: Any, words: list[int]) -> None:
        self._module = module
        self._kept = module.get_bit_generator()
        self._ours = self.spare.pop() if self.spare else _new_generator()
        module.set_bit_generator(self._ours)
        module.seed(words)

    def undo(self) -> None:
        """Put the one that was there before back in its place."""
        self._module.set_bit_generator(self._kept)
        self.spare.append(self._ours)


def _new_generator() -> Any:
    from numpy.random import MT19937

    return MT19937(0)


class _Hook:
    """Seeds numpy's global generator when an item is the first to import it.

    Without it, that item's numbers would depend on whether its worker had numpy already.
    """

    def __init__(self) -> None:
        self.words: list[int] | None = None

    def begin(self, words: list[int]) -> None:
        """An item runs that is to draw from these words."""
        self.words = words
        if _MTRAND not in sys.modules:
            import_hooks.when_loaded(_MTRAND, self._seed)

    def end(self, outer: list[int] | None) -> None:
        """The item is over."""
        self.words = outer
        if outer is None:
            import_hooks.forget(_MTRAND, self._seed)

    def _seed(self) -> None:
        if self.words is not None:
            sys.modules[_MTRAND].seed(self.words)


_hook = _Hook()


# -- torch and OpenCV ------------------------------------------------------------------------


class _Libraries:
    """Their global generators, where they are loaded, or once they are."""

    def __init__(self) -> None:
        self._numbers: list[int] = []  # what the running items are seeded with, innermost last
        self._as_item = {name: partial(self._seed_as_item, name) for name in _SEED}

    def reseed(self) -> None:
        """In a worker: give each a stream of its own, now or once it is imported."""
        for name, call in _RESEED.items():
            import_hooks.when_loaded(name, call)

    def begin(self, number: int) -> list[tuple[str, Any]]:
        """Seed them for an item. Returns what was there before, for `end`.

        Args:
            number: The item's number (`item_seed`).
        """
        self._numbers.append(number)
        kept: list[tuple[str, Any]] = []
        for name, call in self._as_item.items():
            module = loaded(name)
            if module is None:
                import_hooks.when_loaded(name, call)
            else:
                kept.append((name, module.get_rng_state() if name == "torch" else None))
                call()
        return kept

    def end(self, kept: list[tuple[str, Any]]) -> None:
        """The item is over: put back what was there; what it has imported gets a stream of its own.

        OpenCV cannot tell its state, so that goes on with a stream of its own, too.
        """
        self._numbers.pop()
        before = dict(kept)
        for name, call in self._as_item.items():
            if name not in before and not self._numbers:
                import_hooks.forget(name, call)
            if before.get(name) is None:
                _seed_at_random(name)
            else:
                sys.modules[name].set_rng_state(before[name])

    def _seed_as_item(self, name: str) -> None:
        module = loaded(name)
        if self._numbers and module is not None:
            _SEED[name](module, _derived(self._numbers[-1], name))


def _derived(number: int, name: str) -> int:
    """31 bits (more OpenCV does not take) that share nothing with what others are seeded with."""
    from hashlib import blake2b

    digest = blake2b(f"{name}:{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


def _seed_torch(torch: Any, number: int) -> None:
    torch.default_generator.manual_seed(number)


def _seed_opencv(cv2: Any, number: int) -> None:
    cv2.setRNGSeed(number)


def reseed_opencv(seed: int, index: int, step: int) -> None:
    """Seed OpenCV's generator, if it is loaded, for a later step of an item."""
    module = loaded("cv2")
    if module is not None:
        _seed_opencv(module, _derived(item_seed(seed, index), f"cv2:{step}"))


def loaded(name: str) -> Any:
    """Torch or OpenCV, once it is imported."""
    module = sys.modules.get(name)
    return module if hasattr(module, _READY[name]) else None  # else it is still being imported


def _seed_at_random(name: str) -> None:
    module = loaded(name)
    if module is not None:
        _SEED[name](module, int.from_bytes(os.urandom(4), "little") >> 1)


_SEED: dict[str, Callable[[Any, int], None]] = {"torch": _seed_torch, "cv2": _seed_opencv}
_READY = {"torch": "default_generator", "cv2": "setRNGSeed"}
_RESEED = {name: partial(_seed_at_random, name) for name in _SEED}

_libraries = _Libraries()
