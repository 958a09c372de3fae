"""Programs that close all descriptors, as daemons do, ours among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds.running import run

PROGRAM = """
import os, threading, time
import procession
from procession import isolated, parallel

def square(x):
    return x * x

def hang(x):
    open("begun", "w").close()
    time.sleep(600)

f = parallel(inline=False, workers=2, CONTEXT)(square)
alone = isolated(square)
print(f.map(range(3)), alone(2), f.submit(4).result())
large = parallel(inline=False, workers=1)(len)
print(large.map([b"x" * 1_000_000]))
running = parallel(workers=1, inline=False, threads_per_worker=1)(hang).submit(0)
while not os.path.exists("begun"):
    time.sleep(0.01)
os.closerange(3, 4096)
mine = [open(f"mine{number}", "w+") for number in range(40)] if OPENS else []
print(f.map(range(4)), alone(3), f.submit(5).result())
print(large.map([b"x" * 1_000_000]))
print(f.map(range(4)), alone(3), f.submit(5).result())
try:
    running.result()
except procession.PoolClosed as error:
    print("descriptors" in str(error))
for file in mine:
    file.write("mine")
    file.seek(0)
    assert file.read() == "mine"
procession.shutdown()
"""

EXPECTED = [
    "[0, 1, 4] 4 16",
    "[1000000]",
    "[0, 1, 4, 9] 9 25",
    "[1000000]",
    "[0, 1, 4, 9] 9 25",
    "True",
]


@pytest.mark.parametrize(
    ("opens", "context"), [(False, "forkserver"), (True, "forkserver"), (True, "fork")]
)
def test_a_program_that_closes_our_descriptors(opens: bool, context: str, tmp_path: Path) -> None:
    """What ran fails with the reason, the next calls have new workers, and no file is touched that
    has got one of the numbers since."""
    program = PROGRAM.replace("OPENS", str(opens)).replace("CONTEXT", f"context={context!r}")
    assert run(program, folder=tmp_path) == EXPECTED
