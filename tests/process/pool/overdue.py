"""What takes too long, or too much, in a worker."""

from __future__ import annotations

import os
import signal
import time
from typing import Any


def sleep_long() -> None:
    """For ever, here."""
    time.sleep(600)


def take_much() -> None:
    """Hold 200 MB, and go on holding them."""
    block = bytearray(200_000_000)
    for at in range(0, len(block), 4096):
        block[at] = 1
    time.sleep(600)


HANGS = {"sleep": sleep_long, "memory": take_much}


class _Stops:
    """A result whose last reference goes when its item has ended."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return str, (self.path,)


def stop_once_over(path: str) -> Any:
    """Stop this process as soon as the black box says that the item is over."""
    from procession.process.io.black_box import BlackBox

    end = BlackBox.end

    def end_and_stop(box: BlackBox) -> None:
        end(box)
        os.kill(os.getpid(), signal.SIGSTOP)

    setattr(BlackBox, "end", end_and_stop)  # noqa: B010 - a method, to type checkers
    return _Stops(path)
