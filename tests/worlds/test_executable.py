"""Programs that are no script of a Python: frozen ones, and those that embed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds.running import run

# What counts how often it is run, in place of a program that is its own executable.
FAKE = """#!/bin/sh
echo run >> "$(dirname "$0")/runs"
exit 3
"""

PROGRAM = """
import os, sys
sys.executable = EXECUTABLE
FROZEN
import math
import procession
from procession import OptionError, Pool, background, isolated, parallel, shared

def square(x):
    return x * x

def put(queue, x):
    queue.put(x)

print(parallel(inline=False, workers=2)(square).map(range(3)))
print(isolated(square)(3), background(square)(4).result())
with Pool(1) as pool:
    print(list(pool.map(square, [5])))
queue = shared.Queue()
isolated(put)(queue, 6)
print(queue.get())
print(parallel(inline=False, workers=1, backend="stdlib")(square).map([7]))
for options in ({"context": "forkserver"}, {"context": "spawn"}, {"backend": "loky"}):
    try:
        print(parallel(inline=False, workers=1, **options)(square).map([8]))
    except OptionError as error:
        print("context='fork'" in str(error))
procession.shutdown()
"""

EXPECTED = ["[0, 1, 4]", "9 16", "[25]", "6", "[49]", "True", "True", "True"]


@pytest.mark.parametrize("executable", ["the program", "none", "empty"])
def test_a_program_that_names_no_python(executable: str, tmp_path: Path) -> None:
    """Workers are forked; what would execute the program again is refused."""
    fake = tmp_path / "application"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    text = {"the program": repr(str(fake)), "none": "None", "empty": "''"}[executable]
    program = PROGRAM.replace("EXECUTABLE", text).replace("FROZEN", "")
    assert run(program, folder=tmp_path) == EXPECTED
    assert not (tmp_path / "runs").exists()


def test_a_frozen_program(tmp_path: Path) -> None:
    """Workers are forked; only spawn is left to `multiprocessing.freeze_support`."""
    fake = tmp_path / "python-application"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    program = PROGRAM.replace("EXECUTABLE", repr(str(fake))).replace("FROZEN", "sys.frozen = True")
    program = program.replace('{"context": "spawn"}, ', "")
    assert run(program, folder=tmp_path) == EXPECTED[:-1]
    assert not (tmp_path / "runs").exists()
