"""The program in docs/profiling.md does what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

DOCS = ROOT / "docs"


def test_the_program_in_the_documentation(tmp_path: Path) -> None:
    """It runs in silence, prints a summary and leaves both files."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "profiling.md").read_text(), re.DOTALL)
    (program,) = blocks
    (tmp_path / "program.py").write_text(program)
    ran = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("1 call, 1,000 items in ")
    assert "bits()" in ran.stdout
    assert (tmp_path / "run.html").stat().st_size > 0
    assert (tmp_path / "run.json").stat().st_size > 0
