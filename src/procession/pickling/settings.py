"""What every pickler of ours is told: the mode, and which buffers leave the pickle."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Literal

__all__ = ["LARGE", "Pickling", "keep_small"]

Pickling = Literal["strict", "by-value"]

LARGE = 128 * 1024
"""Buffers of this many bytes and more leave the pickle, if the caller takes them. Measured with one
array, pickled, sent to another process and rebuilt there, through a socket and through a segment:
149 and 181 µs at 128 KiB, 813 and 268 µs at 256 KiB, 2.9 and 0.6 ms at 1 MiB."""


def keep_small(large: list[Any]) -> Callable[[pickle.PickleBuffer], bool]:
    """A ``buffer_callback`` that takes large buffers out of the pickle, into `large`."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        with memoryview(buffer) as view:
            if view.nbytes < LARGE or not view.contiguous:
                return True
        large.append(buffer)
        return False

    return keep
