"""``procession doctor``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import procession
from procession.cli import main
from procession.cli.report import Finding, Report

from .conftest import Run


def findings(text: str) -> dict[str, dict[str, Any]]:
    """What was found, by name."""
    found = json.loads(text)
    return {each["name"]: each for section in found["sections"].values() for each in section}


def test_a_healthy_machine(run: Run) -> None:
    """One call works on each backend, and the exit code is 0."""
    done = run("doctor", "--json")
    found = findings(done.stdout)
    assert done.returncode == 0
    assert json.loads(done.stdout)["ok"] is True
    for backend in ("process", "loky", "stdlib", "isolated"):
        assert "in a worker" in found[backend]["text"]
    for backend in ("thread", "serial"):
        assert "in this process" in found[backend]["text"]


def test_few_descriptors(tmp_path: Path) -> None:
    """A low limit of open files is told, with the command that raises it."""
    done = subprocess.run(
        ["bash", "-c", f"ulimit -n 100; exec {sys.executable} -m procession doctor --json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    found = findings(done.stdout)["open files"]
    assert found["state"] == "warning"
    assert "ulimit -n" in found["mend"]


def test_a_bad_variable(run: Run) -> None:
    """A variable that holds no valid option is wrong, and named."""
    done = run("doctor", "--json", PROCESSION_WORKERS="many")
    found = findings(done.stdout)["environment"]
    assert done.returncode == 1
    assert found["state"] == "wrong"
    assert "PROCESSION_WORKERS" in found["text"]


def test_one_processor(run: Run) -> None:
    """One usable CPU is told to be no gain."""
    done = run("doctor", "--json", PYTHON_CPU_COUNT="1")
    assert findings(done.stdout)["usable CPUs"]["state"] == "warning"


def test_a_backend_that_is_missing(run: Run, tmp_path: Path) -> None:
    """A backend whose library cannot be imported is wrong, with the line that installs it."""
    (tmp_path / "loky.py").write_text("raise ImportError('not here')\n")
    done = run("doctor", "--json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert findings(done.stdout)["loky"]["state"] == "wrong"


def test_the_page_is_80_columns(run: Run) -> None:
    """No line is longer, and there is no colour where no terminal is."""
    done = run("doctor")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\033" not in done.stdout


def test_colour_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A terminal gets colour, unless NO_COLOR is set."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    report = Report("title")
    report.add("Section", Finding("name", "wrong", "text", "mend"))
    assert report.show(as_json=False) == 1
    assert "\033[31mXX\033[0m name: text" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    report.show(as_json=False)
    assert "\033" not in capsys.readouterr().out


def test_version(run: Run) -> None:
    """``--version`` says which."""
    assert run("--version").stdout.strip() == f"procession {procession.__version__}"


def test_no_command(run: Run) -> None:
    """Without a command the usage is shown, and the exit code is 2."""
    done = run()
    assert done.returncode == 2
    assert "COMMAND" in done.stderr


def test_the_entry_point() -> None:
    """The command that is installed is the same."""
    from importlib.metadata import entry_points

    (found,) = entry_points(group="console_scripts", name="procession")
    assert found.load() is main
    assert os.path.basename(sys.executable)
