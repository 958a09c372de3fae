"""Whether a new interpreter can be executed, or only this process be forked.

A frozen program (PyInstaller and the like: ``sys.frozen``) is its own executable, and a program
that embeds Python names itself in `sys.executable`: to execute that runs the program once more. An
executable may also be unknown (``sys.executable`` is empty or `None`).
"""

from __future__ import annotations

import os
import sys

from procession.errors import OptionError

__all__ = ["is_python", "must_execute"]


def _executable() -> str:
    spawn = sys.modules.get("multiprocessing.spawn")  # by which another one could have been set
    found: str | bytes | None = sys.executable if spawn is None else spawn.get_executable()
    return os.fsdecode(found) if found else ""


def is_python() -> bool:
    """Whether there is an interpreter to execute."""
    path = _executable()
    if not path or (getattr(sys, "frozen", False) and path == sys.executable):
        return False
    return _named_python(path) and os.access(path, os.X_OK)


def _named_python(path: str) -> bool:
    names = (os.path.basename(each).lower() for each in (path, os.path.realpath(path)))
    return any("python" in name or "pypy" in name for name in names)


def must_execute(method: str) -> None:
    """Refuse a start method that executes an interpreter where there is none.

    Args:
        method: ``"spawn"``, ``"forkserver"`` or ``"loky"``.

    Raises:
        OptionError: There is none. A frozen program may spawn: `multiprocessing.freeze_support`
            sees to what it executes.
    """
    frozen = bool(getattr(sys, "frozen", False))
    if is_python() or (frozen and method == "spawn" and sys.executable):
        return
    path = _executable()
    why = f"sys.executable is {sys.executable!r}, which is no Python"
    if frozen:
        why = "this is a frozen program, whose executable would run it once more"
    elif path and _named_python(path):
        user = f" {os.geteuid()}" if hasattr(os, "geteuid") else ""
        why = f"user{user}, whom this process runs as, may not execute {path!r}, if it is there"
    raise OptionError(
        f"{method!r} cannot start workers here: {why}. Leave context and backend out, or write "
        "context='fork'"
        + (
            " (or context='spawn', with multiprocessing.freeze_support() first in the program)."
            if frozen
            else ", or call multiprocessing.set_executable(path of a Python)."
        )
    )
