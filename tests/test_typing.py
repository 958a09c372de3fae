"""That the type tests test: each line with an ignore is an error to both checkers without it.

`make lint` runs mypy and pyright over tests/typing itself. Both run here too where they are
installed, on a copy of it that has lost its ignores.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT

TYPING = ROOT / "tests" / "typing"
IGNORE = re.compile(r" +# type: ignore\[[^]]*\]")

Places = set[tuple[str, int]]


@pytest.fixture
def stripped(tmp_path: Path) -> Path:
    """A copy of tests/typing without its ignores."""
    for path in TYPING.glob("*.py"):
        (tmp_path / path.name).write_text(IGNORE.sub("", path.read_text()))
    return tmp_path


def expected() -> Places:
    """The lines that must be errors."""
    return {
        (path.name, number)
        for path in TYPING.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if IGNORE.search(line)
    }


def test_mypy_finds_each_negative_case(stripped: Path) -> None:
    """mypy --strict reports every line that had an ignore, and no other line."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", str(stripped)]
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", os.devnull]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "typings")])

    done = subprocess.run(
        [*command, *config],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": path},
    )

    found = re.findall(r"(\w+\.py):(\d+): error: ", done.stdout)
    assert {(name, int(line)) for name, line in found} == expected(), done.stdout + done.stderr


def test_pyright_finds_each_negative_case(stripped: Path) -> None:
    """Pyright strict reports every line that had an ignore, and no other line."""
    folder = os.path.dirname(sys.executable)
    pyright = shutil.which("pyright", path=os.pathsep.join([folder, os.environ.get("PATH", "")]))
    if pyright is None:
        pytest.skip("pyright is not installed")
    config = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT / "src")],
        "stubPath": str(ROOT / "typings"),
    }
    (stripped / "pyrightconfig.json").write_text(json.dumps(config))

    done = subprocess.run(
        [pyright, "--outputjson", "--project", str(stripped)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    errors = json.loads(done.stdout)["generalDiagnostics"]
    found = {
        (os.path.basename(error["file"]), error["range"]["start"]["line"] + 1)
        for error in errors
        if error["severity"] == "error"
    }
    assert found == expected(), json.dumps(errors, indent=1)
