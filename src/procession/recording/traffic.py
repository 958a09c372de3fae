"""Whether a map moved more than it computed. Pure policy; the map counts, `Traffic` judges.

A map that spends more of its workers' time on moving bytes than on the function would be faster
with less data: paths instead of arrays, an array in shared memory, or results made smaller there.
"""

from __future__ import annotations

_PER_SECOND = 2e9
"""Bytes that a worker is given or gives back in a second: a copy here, fresh pages there. Measured
8 to 24 ms for 40 MB; pipes are slower."""

_WORTH_A_WORD = 256e6
"""Bytes from which on it is worth a warning: less is moved in a tenth of a second. A guess."""


class Traffic:
    """What one map has moved and computed so far."""

    __slots__ = ("bytes_back", "bytes_out", "items", "seconds")

    def __init__(self) -> None:
        self.items = 0
        self.bytes_out = 0
        self.bytes_back = 0
        self.seconds = 0.0

    def moved(self, items: int, out: int, back: int, seconds: float) -> None:
        """Count items that are done: bytes to and from workers, seconds in the function."""
        self.items += items
        self.bytes_out += out
        self.bytes_back += back
        self.seconds += seconds

    @property
    def moving(self) -> float:
        """Seconds that moving the bytes takes, about."""
        return (self.bytes_out + self.bytes_back) / _PER_SECOND

    def warning(self, function: str) -> str | None:
        """What to tell the user at the end of the map, or `None` if all is well."""
        if self.bytes_out + self.bytes_back < _WORTH_A_WORD or self.moving <= self.seconds:
            return None
        more = "results" if self.bytes_back > self.bytes_out else "arguments"
        mend = {
            "results": "Return less: reduce in the worker, or let it write into a shared.array().",
            "arguments": "Send less: a path to load there, a slice of a shared.array(), or "
            "shared.put() what is the same for all items.",
        }[more]
        return (
            f"{function}() moved {self.bytes_out / 1e6:.0f} MB to workers and "
            f"{self.bytes_back / 1e6:.0f} MB back for {self.seconds:.2f} s of computing in "
            f"{self.items} items. Most of the time went into moving its {more}. {mend}"
        )
