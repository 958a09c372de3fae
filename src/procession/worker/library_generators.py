"""The global generators of torch and OpenCV, where they are loaded, or once they are.

Both start with one and the same seed in every process, so a worker gives them one of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from procession.system.import_hooks import forget, when_loaded

__all__ = ["begin", "end", "reseed"]


def _derived(number: int, name: str) -> int:
    """31 bits (more OpenCV does not take) that share nothing with what others are seeded with."""
    from hashlib import blake2b

    digest = blake2b(f"{name}:{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


def _seed_torch(torch: Any, number: int) -> None:
    torch.default_generator.manual_seed(number)


def _seed_opencv(cv2: Any, number: int) -> None:
    cv2.setRNGSeed(number)


_SEED: dict[str, Callable[[Any, int], None]] = {"torch": _seed_torch, "cv2": _seed_opencv}
_READY = {"torch": "default_generator", "cv2": "setRNGSeed"}
_numbers: list[int] = []
"""What the running items are seeded with, the innermost last."""


def _loaded(name: str) -> Any:
    module = sys.modules.get(name)
    return module if hasattr(module, _READY[name]) else None  # else it is still being imported


def _entropy(name: str) -> None:
    module = _loaded(name)
    if module is not None:
        _SEED[name](module, int.from_bytes(os.urandom(4), "little") >> 1)


def _as_item(name: str) -> None:
    module = _loaded(name)
    if _numbers and module is not None:
        _SEED[name](module, _derived(_numbers[-1], name))


_AS_ITEM = {name: partial(_as_item, name) for name in _SEED}
_OWN = {name: partial(_entropy, name) for name in _SEED}


def reseed() -> None:
    """In a worker: give each a stream of its own, now or once it is imported."""
    for name, call in _OWN.items():
        when_loaded(name, call)


def begin(number: int) -> list[tuple[str, Any]]:
    """Seed them for an item. Returns what was there before, for `end`.

    Args:
        number: The item's number (`procession.worker.seeding.item_seed`).
    """
    _numbers.append(number)
    kept: list[tuple[str, Any]] = []
    for name, call in _AS_ITEM.items():
        module = _loaded(name)
        if module is None:
            when_loaded(name, call)
        else:
            kept.append((name, module.get_rng_state() if name == "torch" else None))
            call()
    return kept


def end(kept: list[tuple[str, Any]]) -> None:
    """The item is over: put back what was there; what it has imported gets a stream of its own.

    OpenCV cannot tell its state, so that goes on with a stream of its own, too.
    """
    _numbers.pop()
    before = dict(kept)
    for name, call in _AS_ITEM.items():
        if name not in before and not _numbers:
            forget(name, call)
        if before.get(name) is None:
            _entropy(name)
        else:
            sys.modules[name].set_rng_state(before[name])
