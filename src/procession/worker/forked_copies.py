"""Forked copies of a worker, which come back from the user's code beside it: they never answer.

A function that calls `os.fork` and returns in both processes would, in its child, go on as the
worker: answer for it, and run its next items a second time. So the child ends where it comes back,
as a program of its own would: with the code of its SystemExit, or with the traceback of its error.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from procession.errors import TaskExited

__all__ = ["leave"]


def leave(name: str, error: BaseException | None = None) -> NoReturn:
    """End this process, which is a copy of a worker.

    Args:
        name: What has forked it.
        error: What it has raised, if it has.
    """
    code = 0
    try:
        if isinstance(error, TaskExited):
            error = error.__cause__
        if isinstance(error, SystemExit):
            code = _exit_code(error)
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        else:
            sys.stderr.write(
                f"procession: process {os.getpid()}, which {name} forked in a worker, came back "
                "from it and was ended: only the worker itself answers. End such a process with "
                "os._exit(), or use multiprocessing.Process.\n"
            )
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        pass  # it ends all the same
    finally:
        os._exit(code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1
