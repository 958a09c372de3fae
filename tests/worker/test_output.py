"""What finished items have printed is not lost with their worker."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import procession

PROGRAM = """
    import os, sys, time
    from procession import isolated, parallel, shutdown

    def say(x):
        print("item", x)
        if x == "dies":
            os._exit(1)
        if x == "hangs":
            time.sleep(60)
        return x

    def values():
        print("item first")
        yield 1
        print("item second")
        yield 2
        os._exit(1)

    place = PLACE
    f = parallel(inline=False, workers=1, **place)(say)
    list(f.outcomes([1, 2]))
    for x in ("dies", "hangs"):
        list(f.with_options(**({"timeout": 0.3} if x == "hangs" else {})).outcomes([x]))
    list(f.outcomes([3]))
    if not place:
        print("item", isolated(say)(4))
        try:
            for _ in isolated(values)():
                pass
        except Exception:
            pass
    END
"""


def run(folder: Path, text: str, **given: object) -> str:
    """What a program prints to a pipe, which Python buffers."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    environment["PYTHONPATH"] = str(Path(procession.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize("place", [{}, {"backend": "loky"}, {"backend": "stdlib"}])
@pytest.mark.parametrize("end", ["shutdown()", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_prints_survive(tmp_path: Path, place: dict[str, str], end: str) -> None:
    """However the worker ends later, and the program: each finished item's line is there."""
    end = "sys.stdout.flush(); " + end
    said = run(tmp_path, PROGRAM.replace("PLACE", repr(place)).replace("END", end)).split()
    expected = {"1", "2", "3"} if place else {"1", "2", "3", "4", "first", "second"}
    assert expected <= set(said)


FULL = """
    import os, sys
    from procession import parallel

    def say(x):
        if x == "full":
            sys.stdout = open("/dev/full", "w")
        if x == "closed":
            sys.stdout.close()
        if x == "none":
            sys.stdout = None
        if x == "odd":
            sys.stdout = object()
        if sys.stdout is not None and x == "full":
            print("lost")
        return x

    f = parallel(inline=False, workers=1, chunk=1, max_tasks_per_worker=3)(say)
    print([f.map([x, 1, 2]) for x in ("full", "closed", "none", "odd")])
"""


def test_stdout_that_is_full_or_closed(tmp_path: Path) -> None:
    """It fails no item."""
    kinds = [["full", 1, 2], ["closed", 1, 2], ["none", 1, 2], ["odd", 1, 2]]
    assert run(tmp_path, FULL) == f"{kinds}\n"
