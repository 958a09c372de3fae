"""``procession profile``."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Run

SCRIPT = """
import sys
from procession import parallel_map

@parallel_map(workers=2, inline=False)
def double(x: int) -> int:
    return 2 * x

print(sys.argv, __name__, double([1, 2, 3]))
"""


def test_a_script(run: Run, tmp_path: Path) -> None:
    """The script runs as ``__main__`` with its arguments; a page is saved."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run("profile", "script.py", "--json", "x")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['script.py', '--json', 'x'] __main__ [2, 4, 6]\n"
    assert "double" in done.stderr
    assert "double" in (tmp_path / "script.profile.html").read_text()


def test_where_the_page_goes(run: Run, tmp_path: Path) -> None:
    """``-o`` names a page or a trace."""
    (tmp_path / "script.py").write_text(SCRIPT)
    assert run("profile", "-o", "trace.json", "script.py").returncode == 0
    assert json.loads((tmp_path / "trace.json").read_text())
    refused = run("profile", "-o", "trace.txt", "script.py")
    assert refused.returncode == 2
    assert ".html" in refused.stderr


def test_the_scripts_own_end(run: Run, tmp_path: Path) -> None:
    """An exit code is passed on, an error shown from the script's own line on."""
    (tmp_path / "exits.py").write_text("raise SystemExit(7)\n")
    (tmp_path / "raises.py").write_text("1 / 0\n")
    assert run("profile", "exits.py").returncode == 7
    raised = run("profile", "raises.py")
    assert raised.returncode == 1
    assert "raises.py" in raised.stderr
    assert "procession" not in raised.stderr
    assert (tmp_path / "raises.profile.html").exists()


def test_json(run: Run, tmp_path: Path) -> None:
    """``--json`` prints the summary, after what the script prints."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run("profile", "--json", "script.py")
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["exit_code"] == 0
    assert "double" in said["summary"]


def test_no_such_script(run: Run) -> None:
    """A script that is not there is told so."""
    done = run("profile", "nowhere.py")
    assert done.returncode == 2
    assert "nowhere.py" in done.stderr
