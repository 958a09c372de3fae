"""A second process that keeps, drops, changes and returns what it is sent."""

from __future__ import annotations

import os
from collections import UserDict
from typing import Any

KEPT: UserDict[Any, Any] = UserDict()  # no dict: each worker is to have its own


def step(command: tuple[Any, ...]) -> Any:
    """Do one thing with what was sent, in whichever worker this is."""
    kind, *rest = command
    if kind == "keep":
        key, value = rest
        KEPT[key] = value
        return None
    if kind == "drop":
        KEPT.pop(rest[0], None)
        return None
    if kind == "slice":
        key, new, step = rest
        KEPT[new] = KEPT[key][::step]
        return None
    if kind == "fill":
        key, value = rest
        KEPT[key][...] = value
        return None
    if kind == "give":
        return KEPT[rest[0]]
    if kind == "fork":
        return _forked(rest[0])
    return os.getpid()


def _forked(key: Any) -> int:
    """A child that still reads the kept array when its parent has dropped it."""
    go, wait = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(wait)
        os.read(go, 1)
        os._exit(0 if (KEPT[key] == key).all() else 1)
    os.close(go)
    KEPT["child"] = (pid, wait)
    return pid


def end_child(_: Any) -> int:
    """Let the child look at its array; its exit code."""
    pid, wait = KEPT.pop("child")
    os.close(wait)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
