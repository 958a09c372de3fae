"""The first thing an isolated test's process runs: ``python -P -u bootstrap.py FD``.

It puts the process into the state pytest had when it started there (import path, arguments), ties
its life to pytest's, and starts pytest. It imports nothing of ours, because pytest must be the
first to see a plugin's modules, or it complains that it cannot rewrite their assertions.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posix_types import fcntl, os, select, signal
else:
    import os
    import select
    import signal

    try:
        import fcntl
    except ImportError:  # Windows: no test is isolated there
        fcntl = None

procession_payload: dict[str, Any] | None = None
"""What pytest sent; taken by the plugin, once it is loaded in here."""


def tie_to(fd: int) -> None:
    """End this process group as soon as no one holds the write end of the pipe `fd`.

    On Linux the kernel does it, also while C code holds the GIL. Elsewhere a thread does, which
    has to wait for the GIL. The signal belongs to the open pipe, which all tests' processes
    inherit, so it reaches the one that was tied last; there is never more than one.
    """
    set_signal: int | None = getattr(fcntl, "F_SETSIG", None)
    if set_signal is None:
        import threading

        def watch() -> None:
            os.read(fd, 1)
            os.killpg(0, signal.SIGKILL)

        threading.Thread(target=watch, name="procession-lifeline", daemon=True).start()
        return
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(fd, set_signal, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    # A pytest that ended before the signal was armed sends none.
    if select.select([fd], [], [], 0)[0]:
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Read the payload, run pytest, leave."""
    global procession_payload
    import pickle

    with open(int(sys.argv[1]), "rb", closefd=True) as file:
        payload = pickle.load(file)
    tie_to(payload["lifeline"])
    sys.path[:] = payload["path"]
    sys.argv[:] = payload["argv"]
    measured: Any = None
    if payload["coverage"] is not None:
        import importlib

        coverage: Any = importlib.import_module("coverage")
        if coverage.Coverage.current() is None:  # else coverage follows processes by itself
            payload["measured"] = measured = coverage.Coverage(**payload["coverage"])
            measured.start()
    procession_payload = payload
    pytest = _imported()
    code = int(pytest.main(payload["args"]))
    if measured is not None:
        measured.stop()
        measured.save()
    leave(code)


def _imported() -> Any:
    """pytest, without looking for garbage meanwhile: there is none, and it is a fifth of a start.

    Nor does the collector look at its modules later, as often as it strikes in a test.
    """
    import gc

    looks = gc.isenabled()
    gc.disable()
    import pytest

    gc.freeze()
    if looks:
        gc.enable()
    return pytest


def leave(code: int) -> None:
    """Exit as usual, but do not wait for threads that the test left running."""
    import threading

    here = threading.current_thread()
    left = [one for one in threading.enumerate() if one is not here and not one.daemon]
    if not left:
        sys.exit(code)
    import atexit

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code)


if __name__ == "__main__":
    main()
