"""Runs of a real pytest in a process of its own, and what it was told there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import procession
from tests.pytest_plugin.warm_pytest import WarmPytest, WarmRun

BATTERY = Path(__file__).with_name("battery")

OURS = "procession.pytest_plugin"
COROUTINES = ["pytest_asyncio.plugin", "anyio.pytest_plugin"]
"""Plugins for tests that are coroutines. Each process of a test loads all plugins again, which
takes it half of its time, so most runs do without."""

PATIENCE = 900
"""Seconds for a run; far more than any takes on a machine that has nothing else to do."""

SOURCE = str(Path(procession.__file__).parents[1])

INI = """\
[pytest]
python_files = suite_*.py test_*.py
"""


@dataclass
class Test:
    """What pytest was told of one test.

    Attributes:
        reports: Its reports, in order.
        warnings: Its warnings.
    """

    reports: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    __test__ = False

    def phase(self, when: str) -> dict[str, Any]:
        """The one report of a phase."""
        (found,) = [report for report in self.reports if report["when"] == when]
        return found

    @property
    def shape(self) -> str:
        """Each phase with its outcome, as in ``"setup:passed call:failed teardown:passed"``."""
        return " ".join(f"{one['when']}:{one['outcome']}" for one in self.reports)

    @property
    def bad(self) -> dict[str, Any]:
        """The one report that failed."""
        (found,) = [report for report in self.reports if report["outcome"] == "failed"]
        return found


PASSED = "setup:passed call:passed teardown:passed"
FAILED = "setup:passed call:failed teardown:passed"
SKIPPED = "setup:skipped teardown:passed"
EXPECTED = "setup:passed call:skipped teardown:passed"


class Run:
    """A finished run of pytest.

    Attributes:
        code: Its exit code.
        out: Its standard output.
        err: Its standard error.
        pid: The process id of pytest itself.
        notes: What the tests noted, as ``(word, ..., pid)``.
    """

    def __init__(
        self, folder: Path, process: subprocess.Popen[str] | WarmRun, timeout: float
    ) -> None:
        self.out, self.err = process.communicate(timeout=timeout)
        self.code, self.pid = process.returncode, process.pid
        events = folder / "events"
        lines = events.read_text().splitlines() if events.exists() else []
        self.tests: dict[str, Test] = {}
        self.notes: list[list[Any]] = []
        for event in map(json.loads, lines):
            if event[0] == "report":
                self._test(event[1]).reports.append(event[2])
            elif event[0] == "warning":
                self._test(event[1]).warnings.append(event[2])
            else:
                self.notes.append(event)

    def _test(self, nodeid: str) -> Test:
        file, _, name = nodeid.partition("::")
        return self.tests.setdefault(f"{file.rpartition('/')[2]}::{name}", Test())

    def __getitem__(self, name: str) -> Test:
        (found,) = [one for nodeid, one in self.tests.items() if nodeid.endswith("::" + name)]
        return found

    def noted(self, *words: str) -> list[int]:
        """The process ids that noted these words."""
        return [note[-1] for note in self.notes if note[: len(words)] == list(words)]

    @property
    def counts(self) -> dict[str, int]:
        """The last line of the terminal, as ``{"passed": 3, ...}``."""
        last = self.out.rstrip().rpartition("\n")[2]
        found = re.findall(r"(\d+) ([a-z]+)", last.partition(" in ")[0])
        return {word.rstrip("s") if word != "passed" else word: int(n) for n, word in found}


def _prepare(
    folder: Path, plugins: bool, coroutines: bool, environment: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Arguments that load plugins, and the environment; and the files that each folder has."""
    loaded = ["-p", OURS]
    if coroutines:
        there = [name for name in COROUTINES if find_spec(name.partition(".")[0]) is not None]
        loaded += [part for name in there for part in ("-p", name)]
    if plugins and any(one.name == "procession" for one in entry_points(group="pytest11")):
        loaded = []
    if (plugins or coroutines) and find_spec("pytest_asyncio") is not None:
        loaded += ["-o", "asyncio_default_fixture_loop_scope=function"]
    if not (folder / "pytest.ini").exists():
        (folder / "pytest.ini").write_text(INI)
    if not (folder / "conftest.py").exists():
        shutil.copy(BATTERY / "for_conftest.py", folder / "conftest.py")
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "COV_", "COVERAGE_", "PROCESSION_"))
    }
    path = [environment.pop("path", ""), SOURCE, variables.get("PYTHONPATH", "")]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    variables["PYTHONDONTWRITEBYTECODE"] = ""  # or each process rewrites all assertions again
    variables["BATTERY_EVENTS"] = str(folder / "events")
    variables["PYTEST_DEBUG_TEMPROOT"] = str(folder)
    if not plugins:
        variables["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return loaded, variables | environment


def start(
    folder: Path,
    *arguments: str,
    plugins: bool = False,
    coroutines: bool = False,
    **environment: str,
) -> subprocess.Popen[str]:
    """Start pytest in a folder with our plugin, those for coroutines, or all that there are."""
    loaded, variables = _prepare(folder, plugins, coroutines, environment)
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *loaded, *arguments],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    folder: Path,
    *arguments: str,
    plugins: bool = False,
    coroutines: bool = False,
    **environment: str,
) -> Run:
    """Run pytest in a folder, to its end."""
    started = start(folder, *arguments, plugins=plugins, coroutines=coroutines, **environment)
    return _to_its_end(folder, started)


def _to_its_end(folder: Path, process: subprocess.Popen[str] | WarmRun) -> Run:
    try:
        return Run(folder, process, PATIENCE)
    except BaseException:
        process.kill()
        process.communicate()
        raise


_warm: list[WarmPytest] = []


def run_warm(folder: Path, *arguments: str, **environment: str) -> Run:
    """The same in a process that has imported pytest before; `cool` ends what forks it."""
    loaded, variables = _prepare(folder, False, False, environment)
    if not _warm:
        _warm.append(WarmPytest(variables))
    return _to_its_end(folder, _warm[0].start(folder, [*loaded, *arguments], variables))


def cool() -> None:
    """End the process that `run_warm` keeps."""
    while _warm:
        _warm.pop().close()
