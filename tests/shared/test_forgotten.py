"""Shared objects that nobody holds any more."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from procession import shared
from procession.shared.memory.memory_file import close_struck


@pytest.mark.parametrize("kind", ["Lock", "Semaphore", "Queue", "Dict"])
def test_ctrl_c_amid_a_finalizer_leaves_no_descriptor(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten object's descriptors are closed, before whichever line of it Ctrl-C strikes."""
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: None)  # Python tells of each
    getattr(shared, kind)()
    gc.collect()
    gc.freeze()  # or it looks through all that is there, each time
    before = len(os.listdir("/proc/self/fd"))
    struck = True
    line = 0
    while struck:
        line += 1
        made = [getattr(shared, kind)()]
        struck = _strikes_at(line, made.clear)
        gc.collect()
        close_struck()  # as the next object's creation does
        assert len(os.listdir("/proc/self/fd")) == before, line
    assert line > 3


def _strikes_at(line: int, call: Callable[[], None]) -> bool:
    """Call with an interrupt before a line of the finalizers; whether there were so many."""
    left = line

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(str(Path(shared.__file__).parent)):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return left <= 0
