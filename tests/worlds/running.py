"""Runs programs, each in an interpreter of its own, and gives what they print."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tests.support.project import ROOT

__all__ = ["run"]


def run(
    program: str,
    *options: str,
    folder: Path,
    limit: float = 60,
    quiet: bool = True,
    path: Path | None = None,
    before: Sequence[str] = (),
    **environment: str | None,
) -> list[str]:
    """Run a program as a script; the lines of its output.

    Args:
        program: Its text.
        options: The interpreter's.
        folder: Where it lies and runs.
        limit: Seconds until it counts as hung.
        quiet: Whether nothing may be told on stderr that looks like an error.
        path: Another folder to import from.
        before: What to put in front of the command.
        environment: What to change in the environment; `None` takes a variable away.
    """
    script = folder / "program.py"
    script.write_text(textwrap.dedent(program))
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT / "src", *([path] if path else [])])),
    }
    for name, value in environment.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    done = subprocess.run(
        [*before, sys.executable, *options, str(script)],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (quiet and "Traceback" in done.stderr), done.stderr
    return done.stdout.splitlines()
