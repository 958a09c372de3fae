"""Lines that workers run count for coverage, as those of the standard library's processes do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import worked
from procession import parallel
for context in ("fork", "spawn", "forkserver"):
    work = parallel(inline=False, workers=1, context=context)(getattr(worked, context))
    assert work.map([1, 2]) == [2, 4]
import multiprocessing
assert multiprocessing.get_start_method(allow_none=True) is None
"""
WORKED = "".join(
    f"def {context}(number):\n    twice = 2 * number\n    return twice\n\n\n"
    for context in ("fork", "spawn", "forkserver")
)


@pytest.mark.parametrize(
    "settings", ["concurrency = multiprocessing", "patch = subprocess, _exit, fork"]
)
def test_lines_of_workers_are_measured(tmp_path: Path, settings: str) -> None:
    """Every line of a function is covered, whichever way its worker starts."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "worked.py").write_text(WORKED)
    config = f"[run]\nparallel = true\ninclude = */worked.py\n{settings}\n"
    (tmp_path / ".coveragerc").write_text(config)
    for command in (["run", "script.py"], ["combine", "-q"]):
        done = _coverage(tmp_path, *command)
        assert done.returncode == 0, done.stdout + done.stderr

    assert "100%" in _coverage(tmp_path, "report").stdout


def _coverage(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coverage", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
