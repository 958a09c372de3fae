"""What a test in a process of its own costs: Procession beside pytest-forked, -isolate, -isolated.

    python benchmarks/pytest_isolated.py [PYTHON ...]

Each PYTHON (this one, if none is given) is asked which of the four plugins it has; they do not all
go together in one environment. Printed is the time per test beyond that of the same tests without
isolation: on the clock, and on all CPUs together, each the best of three runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PLUGINS = {
    "procession": "procession.pytest_plugin",
    "pytest-forked": "pytest_forked",
    "pytest-isolate": "pytest_isolate.plugin",
    "pytest-isolated": "pytest_isolated.plugin",
}


class Way(NamedTuple):
    """One way to isolate a test: whose, how it is marked, and what the process is."""

    plugin: str
    mark: str
    what: str
    tests: int = 40


WAYS = (
    Way("procession", "isolated", "fresh interpreter per test", 8),
    Way("procession", "isolated(context='fork')", "fork per test"),
    Way("procession", "isolated(group='module')", "fresh interpreter per module"),
    Way("procession", "isolated(group='module', context='fork')", "fork per module"),
    Way("pytest-forked", "forked", "fork per test"),
    Way("pytest-isolate", "isolate(timeout=60)", "fork per test"),
    Way("pytest-isolated", "isolated(group={group!r})", "fresh interpreter per test", 8),
    Way("pytest-isolated", "isolated(group='all')", "fresh interpreter per group"),
)


def has(python: str, plugin: str) -> bool:
    """Whether an interpreter has a plugin."""
    module = PLUGINS[plugin].partition(".")[0]
    return not subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode


def write(folder: Path, way: Way, isolated: bool) -> None:
    """Write tests that do nothing."""
    lines = ["import pytest"]
    for number in range(way.tests):
        if isolated:
            lines.append(f"@pytest.mark.{way.mark.format(group=str(number))}")
        lines.append(f"def test_{number}():\n    pass\n")
    (folder / "test_it.py").write_text("\n".join(lines))


def seconds(python: str, folder: Path, way: Way) -> tuple[float, float] | None:
    """Clock and CPU, the best of three runs; `None` if the tests do not pass."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [python, "-m", "pytest", "-q", "-p", PLUGINS[way.plugin]]
    clock: list[float] = []
    cpu: list[float] = []
    for _ in range(3):
        start, before = time.perf_counter(), os.times()
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        clock.append(time.perf_counter() - start)
        after = os.times()
        user = after.children_user - before.children_user
        cpu.append(user + after.children_system - before.children_system)
        if f"{way.tests} passed" not in run.stdout:
            return None
    return min(clock), min(cpu)


def main() -> None:
    """Measure each way in the first interpreter that has it."""
    pythons = sys.argv[1:] or [sys.executable]
    for way in WAYS:
        python = next((one for one in pythons if has(one, way.plugin)), None)
        if python is None:
            print(f"{way.plugin:16} {way.what:30} not installed")
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "pytest.ini").write_text("[pytest]\n")
            write(folder, way, isolated=False)
            plain = seconds(python, folder, way)
            write(folder, way, isolated=True)
            isolated = seconds(python, folder, way)
        if plain is None or isolated is None:
            print(f"{way.plugin:16} {way.what:30} tests that pass without it fail")
            continue
        clock, cpu = (
            (more - less) / way.tests * 1e3 for more, less in zip(isolated, plain, strict=True)
        )
        print(f"{way.plugin:16} {way.what:30} {clock:7.1f} ms per test, CPU {cpu:7.1f} ms")


if __name__ == "__main__":
    main()
