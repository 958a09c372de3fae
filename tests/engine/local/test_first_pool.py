"""A program's first pool begins to start before what it needs is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from procession import background, isolated, parallel, parallel_map
from procession.process.start import zygote
forked, fork_server = [], zygote.fork_server
def noticed(*args, by_value):
    forked.append((any(name in sys.modules for name in ENGINE), by_value))
    return fork_server(*args, by_value=by_value)
zygote.fork_server = noticed
ENGINE = ("procession.engine.single_call", "procession.engine.map.map_verbs")
def plain(x): return x + 1
def uses(x): return plain(x)
print({call}, forked)
"""


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("isolated(plain)(1)", "2 [(False, False)]"),
        ("isolated(uses)(1)", "2 [(False, True)]"),
        ("background(plain)(1).result()", "2 [(False, False)]"),
        ("parallel(plain).submit(1).result()", "2 [(False, False)]"),
        ("parallel_map(inline=False)(plain)([1])", "[2] [(False, False)]"),
        ("parallel_map(plain)([1])", "[2] []"),
        ("isolated(context='forkserver')(plain)(1)", "2 []"),
        ("parallel(backend='thread')(plain).submit(1).result()", "2 []"),
    ],
)
def test_the_server_of_a_call_that_needs_one_boots_first(call: str, told: str) -> None:
    """It is told whether items will come by cloudpickle; other calls start nothing."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{call}", call)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == told, done.stderr
