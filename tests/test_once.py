"""A value that is made once."""

from __future__ import annotations

import threading
import time

import pytest

from procession.once import Once


def test_what_is_made_once_is_made_once() -> None:
    """Everybody who asks gets the same object, whoever has made it."""
    made: list[object] = []

    def make() -> object:
        time.sleep(0.01)
        made.append(object())
        return made[-1]

    once = Once(make)
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(once())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 1
    assert got == made * 8


def test_what_cannot_be_made_is_tried_again() -> None:
    """An error goes to who asked, and the next one tries."""
    tries: list[int] = []

    def make() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise SystemExit
        return 7

    once = Once(make)
    with pytest.raises(SystemExit):
        once()
    assert once() == 7


def test_what_asks_for_itself_is_refused() -> None:
    """Whoever needs the value to make it would wait for ever."""
    once: Once[int] = Once(lambda: once())
    with pytest.raises(RuntimeError, match="asks for it itself"):
        once()
