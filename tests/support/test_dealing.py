"""A run that is dealt out to several processes ends, also when a test ends its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.conftest import pytest_xdist_make_scheduler
"""
PASSES = "\n".join(f"def test_{number}(): pass" for number in range(5))
DIES = "import os\ndef test_0(): pass\ndef test_1(): os._exit(1)\ndef test_2(): pass\n"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "no:cacheprovider"]


@pytest.mark.parametrize("files", ["dpppp", "ppppd", "d"])
def test_a_process_that_dies_loses_one_test(files: str, tmp_path: Path) -> None:
    """Whether it dies first, last or alone, each other test runs once and the run ends."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for number, kind in enumerate(files):
        (tmp_path / f"test_{number}.py").write_text(DIES if kind == "d" else PASSES)
    done = subprocess.run(
        [*PYTEST, "-n2", "--dist", "loadfile", "."],
        cwd=tmp_path,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    passed = 5 * files.count("p") + 2
    assert f"1 failed, {passed} passed" in done.stdout, done.stdout + done.stderr
