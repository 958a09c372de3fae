"""Ctrl-C at random instants, felt only while one function runs, so that a test survives its own."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any


class Strikes:
    """Sends this process Ctrl-C again and again; for the main thread.

        strikes = Strikes(300)
        while strikes.go_on:
            strikes.attempt(call)

    A strike raises `KeyboardInterrupt` wherever the main thread is within `attempt`, in exception
    handlers and finalizers too; outside of it, it is ignored. The next one is sent some time after
    the last one was taken, so a slow machine gets as many.

    Args:
        count: How many strikes are to be felt.
        every: The mean of the pauses between two, in seconds.
        seed: Of the pauses.

    Attributes:
        felt: How many were felt so far.
    """

    def __init__(self, count: int, every: float = 0.0015, seed: int = 0) -> None:
        self.felt = 0
        self._count = count
        self._every = every
        self._dice = random.Random(seed)
        self._pending = False
        self._over = False
        self._before = signal.signal(signal.SIGINT, self._take)
        self._thread = threading.Thread(target=self._strike, daemon=True)
        self._thread.start()

    @property
    def go_on(self) -> bool:
        """Whether there are more to come; when there are not, Ctrl-C is again what it was."""
        if self.felt < self._count:
            return True
        if not self._over:
            self._over = True
            self._thread.join()
            signal.signal(signal.SIGINT, self._before)
        return False

    def attempt(self, call: Callable[[], Any]) -> bool:
        """Call; whether it was interrupted."""
        try:
            self._feel(call)
        except KeyboardInterrupt:
            return True
        return False

    def _feel(self, call: Callable[[], Any]) -> None:
        call()

    def _take(self, _: int, frame: FrameType | None) -> None:
        within = Strikes._feel.__code__
        while frame is not None and frame.f_code is not within:
            frame = frame.f_back
        self._pending = False
        if frame is not None:
            self.felt += 1
            raise KeyboardInterrupt

    def _strike(self) -> None:
        while not self._over:
            time.sleep(self._dice.random() * 2 * self._every)
            if self.felt < self._count:
                self._pending = True
                os.kill(os.getpid(), signal.SIGINT)
                while self._pending and self.felt < self._count:
                    time.sleep(0.0002)
