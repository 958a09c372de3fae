"""Other systems, as far as Linux can look like them: Windows, and macOS.

`other_systems/sitecustomize.py` takes away what they lack, in this process's children and their
workers. What such a test shows is that Procession asks for nothing else, and says what cannot be
had. That the rest of such a system is as expected, only the system itself can show.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process.jobs import is_alive
from tests.support.pages import DOCS
from tests.support.project import ROOT
from tests.support.waiting import wait_until
from tests.worlds.running import run

SYSTEMS = Path(__file__).with_name("other_systems")


def look(program: str, system: str, folder: Path, **environment: Any) -> Any:
    """What a program prints as JSON in its last line, run as on another system."""
    path = f"{SYSTEMS}:{ROOT / 'src'}:{ROOT}"
    lines = run(
        program, folder=folder, quiet=False, OTHER_SYSTEM=system, PYTHONPATH=path, **environment
    )
    return json.loads(lines[-1])


# -- the pages -------------------------------------------------------------------------------------

PAGES = """
import json, sys
from types import ModuleType
from pathlib import Path
from procession import BackendUnavailable, OptionError
from tests.support.pages import blocks

def run(page):
    main = ModuleType("__main__")
    before, sys.modules["__main__"] = sys.modules["__main__"], main
    for block in blocks(page.read_text()):
        if block.language == "python":
            code = compile("\\n" * (block.line - 1) + block.code, str(page), "exec")
            try:
                exec(code, vars(main))
            except (BackendUnavailable, OptionError) as error:
                yield "refused: " + str(error)
            except NameError as error:
                yield "missing: " + str(error)
            else:
                yield "ran"
    sys.modules["__main__"] = before

print(json.dumps({page: list(run(Path(page))) for page in %r}))
"""


def told(system: str, folder: Path, *pages: str, **environment: str) -> list[str]:
    """What came of each block of some pages, in order."""
    program = PAGES % ([str(DOCS / page) for page in pages],)
    return [each for page in look(program, system, folder, **environment).values() for each in page]


def test_pages_as_on_windows(tmp_path: Path) -> None:
    """Blocks run on loky; those that need more are refused in a line that says what is missing."""
    pages = "start.md", "from/multiprocessing.md", "guides/large-data.md", "guides/profiling.md"
    blocks = told("windows", tmp_path, *pages)
    refused = [each for each in blocks if each.startswith("refused")]
    # A block that goes on from one that was refused does not find its names.
    missing = [each for each in blocks if each.startswith("missing")]
    assert blocks.count("ran") == len(blocks) - len(refused) - len(missing)
    assert blocks.count("ran") >= 18
    assert len(missing) <= 1
    assert all("this platform (win32)" in each and "\n" not in each for each in refused)


def test_pages_as_on_macos(tmp_path: Path) -> None:
    """All blocks run on Procession's own workers, without memfd, epoll, pidfd and /proc."""
    pages = "start.md", "from/multiprocessing.md", "guides/shared-state.md", "guides/large-data.md"
    blocks = told("macos", tmp_path, *pages, PROCESSION_BACKEND="process")
    assert blocks == ["ran"] * len(blocks)
    assert len(blocks) >= 24


# -- every module, every verb ----------------------------------------------------------------------

MODULES = """
import importlib, json, pkgutil, procession
failed = {}
for module in pkgutil.walk_packages(procession.__path__, "procession."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed[module.name] = repr(error)
print(json.dumps(failed))
"""

VERBS = """
import asyncio, json, logging, os, random, time
import procession
from procession import (
    BackendUnavailable, OptionError, Pool, background, isolated, parallel, parallel_chunks, shared
)

answers = {}

def ask(name, question):
    try:
        answers[name] = question()
    except (BackendUnavailable, OptionError) as error:
        answers[name] = "refused: " + str(error)

def start(name):
    os.environ["STARTED"] = name

@parallel(workers=2, inline=False, seed=1, initializer=start, initargs=("yes",))
def draw(number):
    return [number, random.random(), os.environ["STARTED"], os.getpid()]

@parallel(workers=2, inline=False)
def square(number):
    if number == 13:
        os._exit(3)
    logging.getLogger("there").warning("square of %d", number)
    return number * number

@parallel_chunks(workers=2, inline=False)
def squares(numbers):
    return [number * number for number in numbers]

@background(workers=2)
def nap(seconds):
    time.sleep(seconds)

@isolated
def alone():
    return os.getpid()

class Records(logging.Handler):
    def emit(self, record):
        answers["log"] = record.getMessage()

logging.getLogger("there").addHandler(Records())

async def collect():
    return [each async for each in square.aimap(range(4))]

def by_pool():
    with Pool(2) as pool:
        return [list(pool.map(abs, [-1, -2])), pool.submit(divmod, 7, 2).result()]

def profiled():
    with procession.profile() as profile:
        square.map(range(4))
    return profile.summary()

drawn = draw.map(range(4))
answers["seeds"] = [each[1] for each in drawn] == [
    each[1] for each in draw.with_options(workers=1).map(range(4))
]
answers["drawn"] = [each[2] for each in drawn]
answers["apart"] = os.getpid() not in [each[3] for each in drawn]
ask("map", lambda: square.map(range(5)))
ask("submit", lambda: square.submit(6).result())
ask("imap", lambda: list(square.imap(iter(range(4)))))
ask("outcomes", lambda: [each.ok for each in square.outcomes([12, 13, 14])])
ask("aimap", lambda: asyncio.run(collect()))
ask("chunks", lambda: squares(list(range(6))))
ask("pool", by_pool)
ask("put", lambda: parallel(workers=2, inline=False)(sum).map([shared.put((1, 2))]))
ask("profile", profiled)
ask("stats", lambda: sorted(procession.stats())[0])
ask("isolated", lambda: alone() != os.getpid())
ask("process", lambda: square.with_options(backend="process").map([3]))
ask("fork", lambda: square.with_options(context="fork").map([3]))
ask("spawn", lambda: square.with_options(context="spawn").map([3]))
for option, value in {"timeout": 60, "memory_limit": "2GB", "deadline": 60}.items():
    ask(option, lambda: square.with_options(**{option: value}).map([3]))
for name in ("Lock", "Queue", "Dict"):
    ask(name, lambda: type(getattr(shared, name)()).__name__)
ask("zeros", lambda: shared.zeros(3, "f8").tolist())
answers["backend"] = square.options.backend
nap(0)
print(json.dumps(answers))
"""

SAME = {
    "seeds": True,
    "drawn": ["yes"] * 4,
    "apart": True,
    "map": [0, 1, 4, 9, 16],
    "submit": 36,
    "imap": [0, 1, 4, 9],
    "outcomes": [True, False, True],
    "aimap": [0, 1, 4, 9],
    "chunks": [0, 1, 4, 9, 16, 25],
    "pool": [[1, 2], [3, 1]],
    "put": [3],
    "spawn": [9],
    "log": "square of 3",
}
"""What is the same everywhere."""


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_every_module_can_be_imported(system: str, tmp_path: Path) -> None:
    """Also those that are of no use there: a tool may import all of a package."""
    assert look(MODULES, system, tmp_path) == {}


def test_verbs_as_on_windows(tmp_path: Path) -> None:
    """The default is loky. What ends a process alone, or shares memory, is refused in one line."""
    answers = look(VERBS, "windows", tmp_path)
    assert answers["backend"] == "loky"
    assert {name: answers[name] for name in SAME} == SAME
    assert answers["stats"].startswith("loky")
    assert "Largest speed-up" in answers["profile"]
    refused = {
        *("isolated", "process", "fork", "timeout", "memory_limit", "deadline"),
        *("Lock", "Queue", "Dict", "zeros"),
    }
    for name in refused:
        assert answers[name].startswith("refused"), name
        assert "this platform (win32)" in answers[name], name
        assert "\n" not in answers[name], name


@pytest.mark.parametrize("backend", ["loky", "process"])
def test_verbs_as_on_macos(backend: str, tmp_path: Path) -> None:
    """The default is loky, as there is no memory without a name; our own workers can be asked for.

    Isolated calls and shared memory do without it.
    """
    given = {"PROCESSION_BACKEND": "process"} if backend == "process" else {}
    answers = look(VERBS, "macos", tmp_path, **given)
    assert answers["backend"] == backend
    assert {name: answers[name] for name in SAME} == SAME
    assert answers["stats"].startswith(backend)
    shared = {name: name for name in ("Lock", "Queue", "Dict")}
    assert {name: answers[name] for name in shared} == shared
    assert answers["zeros"] == [0.0] * 3
    assert answers["isolated"] is True
    for name in ("fork", "timeout", "memory_limit", "process"):
        assert answers[name] == [9], name
    assert (answers["deadline"] == [9]) == (backend == "process")


# -- the doors, and the end ------------------------------------------------------------------------

DOORS = """
import contextlib, io, json
import pytest
from procession.cli import main

def printed(call, *args):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            code = call(*args)
        except SystemExit as error:
            code = error.code
    return int(code or 0), out.getvalue()

options = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-c", "/dev/null", "test_it.py"]
doctor = printed(main, ["doctor", "--json"])
isolated = printed(pytest.main, options)
here = printed(pytest.main, ["--procession-isolation=off", *options])
print(json.dumps([doctor, isolated, here]))
"""

TEST = """
import pytest

@pytest.mark.isolated
def test_it(procession_inline):
    assert True
"""


def test_doctor_and_pytest_as_on_windows(tmp_path: Path) -> None:
    """The doctor finds nothing wrong; the plugin says how to run marked tests all the same."""
    (tmp_path / "test_it.py").write_text(TEST)
    (found, looked), (refused, said), (passed, _) = look(DOORS, "windows", tmp_path)
    assert found == 0
    assert "not on this platform" in looked
    assert refused == pytest.ExitCode.USAGE_ERROR
    assert "--procession-isolation=off" in said
    assert passed == 0


KILLED = """
import os, time
from procession import parallel

@parallel(workers=1, inline=False)
def stay(_):
    print(os.getpid(), flush=True)
    time.sleep(600)

stay.map([0])
"""


def test_no_worker_outlives_its_caller_as_on_windows(tmp_path: Path) -> None:
    """A thread in each worker waits for the end of the caller's process, and ends the worker."""
    script = tmp_path / "program.py"
    script.write_text(KILLED)
    path = f"{SYSTEMS}:{ROOT / 'src'}"
    environment = {**os.environ, "OTHER_SYSTEM": "windows", "PYTHONPATH": path}
    program = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE)
    assert program.stdout is not None
    with program, program.stdout as lines:
        worker = int(lines.readline())
        program.kill()
    wait_until(lambda: not is_alive(worker))
