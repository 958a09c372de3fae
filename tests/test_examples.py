"""Every example runs as a program, in silence on stderr, and prints what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

PROMISES = {
    "codebase_metrics.py": ["The ten most complex functions:", "times as fast"],
    "isolated_calls.py": [
        "the crash ended one process, not this one: SIGSEGV",
        "27 takes 111 steps",
        "-1 was ended after 0.5 s",
        "the first primes: [2, 3, 5, 7, 11, 13, 17, 19]",
    ],
    "background_calls.py": ["148,933 primes below 2,000,000", "168 primes below 1,000", "awaited:"],
    "shared_state.py": [
        "counted to 4,000, of each digit [400, 400,",
        "40,000 steps under a lock",
        "never more than two inside",
        "producer done; the squares below 1,000 add up to 332,833,500",
        "the answers were [2, 4, 6]; nobody asks any more",
    ],
    "one_bad_item.py": [
        "10! has 7 digits",
        "-1  ValueError after 1 attempt(s)",
        "13  WorkerDied after 2 attempt(s)",
        "666  TimedOut after 2 attempt(s)",
        "10000! has 35,660 digits",
    ],
}


def test_every_example_is_tested() -> None:
    """No example is left out of the table above."""
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(PROMISES)


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_example(name: str) -> None:
    """The example ends well and prints what it promises."""
    # A small package stands for the whole standard library, to keep this short.
    arguments = [str(Path(os.__file__).parent / "json")] if name == "codebase_metrics.py" else []
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    for promise in PROMISES[name]:
        assert promise in ran.stdout
