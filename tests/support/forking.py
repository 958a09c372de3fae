"""Programs that fork by their own code, and what their children find."""

from __future__ import annotations

import os
import textwrap

from tests.chaos.helpers import program

QUIET = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}

FORK = """
import os, signal, threading

def in_child(use):
    '''Call in a forked child; the lines that it printed, or how it died, came from there.'''
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(20)  # who waits for ever is ended
    code = 1
    try:
        use()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(code)
"""


def run(code: str) -> str:
    """What a program prints that can fork by ``in_child``; it must end in order and in silence."""
    child = program(FORK + textwrap.dedent(code), env=QUIET)
    try:
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.communicate()
    assert (child.returncode, err) == (0, ""), out + err
    return out
