"""What a run with isolated tests prints and counts is what it does with the same tests here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pytest_plugin.harness import Run, run_warm
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

Write = Callable[[str], Path]

HEAD = "import pytest, os, sys, time\npytestmark = pytest.mark.isolated(context={context!r})\n"


@pytest.fixture(params=["spawn", "fork"])
def context(request: pytest.FixtureRequest) -> str:
    """Both ways to get a process."""
    return str(request.param)


@pytest.fixture
def write(tmp_path: Path, context: str) -> Write:
    """Write a file of isolated tests, and give its folder."""

    def written(text: str) -> Path:
        (tmp_path / "test_it.py").write_text(HEAD.format(context=context) + text)
        return tmp_path

    return written


def without_times(text: str) -> str:
    """A run's output, without what is never twice the same."""
    text = re.sub(r"in \d+\.\d+s( \([\d:]+\))?", "in no time", text)
    text = re.sub(r"isolation: (on|off)", "", text)
    return re.sub(r"=+", "=", text)


def both(folder: Path, *arguments: str) -> tuple[Run, Run]:
    """The same run with the tests in pytest's own process, and isolated."""
    arguments = (*arguments, "-p", "no:cacheprovider")
    here = run_warm(folder, *arguments, "--procession-isolation=off")
    (folder / "events").unlink(missing_ok=True)
    return here, run_warm(folder, *arguments)


PRINTS = """
import logging, subprocess

@pytest.fixture
def noisy():
    print("in setup")
    logging.warning("log in setup")
    yield
    print("in teardown")
    logging.warning("log in teardown")

def test_one(noisy):
    print("in call")
    logging.warning("log in call")

def test_two(noisy):
    for number in range(5):
        print("out", number, flush=True)
        os.write(1, b"raw %d\\n" % number)
    subprocess.run(["echo", "from a child"], check=True)
    assert 0

def test_three(capsys):
    with capsys.disabled():
        print("not captured")

def test_input():
    assert type(sys.stdin).__name__ == os.environ.get("NO_SUCH", ""), type(sys.stdin).__name__
"""


@pytest.mark.parametrize(
    ("context", "arguments"),
    [
        ("fork", ["-s"]),
        ("fork", ["--capture=sys"]),
        ("spawn", ["--capture=tee-sys"]),
        ("fork", ["-o", "log_cli=true"]),
        ("spawn", ["-o", "log_cli=true", "-s", "-v"]),
    ],
    indirect=["context"],
    ids=str,
)
def test_output_keeps_its_place(write: Write, arguments: list[str]) -> None:
    """What a test prints comes between the same letters, log records shown live included."""
    here, there = both(write(PRINTS), *arguments, "-rN")
    assert without_times(there.out) == without_times(here.out)
    assert there.code == here.code


def test_both_outputs_in_one_stream(write: Write) -> None:
    """Standard output and error that go to the same place keep their order."""
    import subprocess
    import sys

    folder = write(
        "def test_it():\n"
        "    for number in range(9):\n"
        "        print('o', number, flush=True)\n"
        "        print('e', number, file=sys.stderr, flush=True)\n"
    )
    command = [sys.executable, "-m", "pytest", "-s", "-q", "-p", "no:cacheprovider"]
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    printed = [line for line in done.stdout.splitlines() if re.fullmatch(r"[oe] \d", line)]
    assert printed == [f"{which} {number}" for number in range(9) for which in "oe"]


def test_captured_in_memory_outlives_a_crash(write: Write) -> None:
    """With ``--capture=sys``, a dead test's output is in its report, once."""
    folder = write(
        "@pytest.fixture\ndef said():\n    print('in setup')\n"
        "def test_it(said):\n    print('in call')\n    os._exit(3)\n"
    )
    done = run_warm(folder, "--capture=sys")
    assert done.out.count("in setup") == done.out.count("in call") == 1


CONDITIONS = """
@pytest.mark.skipif("undefined")
def test_skipif(): pass

@pytest.mark.xfail("undefined")
def test_xfail(): pass

@pytest.mark.skipif(True)
def test_no_reason(): pass

def test_last(): pass
"""


def test_conditions_that_fail(write: Write) -> None:
    """A marker whose condition cannot be evaluated fails its test, and not the run."""
    here, there = both(write(CONDITIONS))
    assert "INTERNALERROR" not in there.out
    assert there.counts == here.counts == {"passed": 1, "error": 3}


SUBTESTS = """
import unittest

class TestCase(unittest.TestCase):
    def test_case(self):
        for number in range(3):
            with self.subTest(number=number, word="a"):
                self.assertNotEqual(number, 1)

def test_fixture(subtests):
    for number in range(3):
        with subtests.test("message", number=number, word="a"):
            assert number != 1
"""


def test_subtests(write: Write) -> None:
    """Failed subtests count as they do here, and show their parameters the same way."""
    if not hasattr(pytest, "Subtests"):
        pytest.skip("this pytest has no subtests of its own")
    here, there = both(write(SUBTESTS), "-rA")
    assert there.counts == here.counts
    assert "SUBFAILED" in here.out
    for line in here.out.splitlines():
        if line.startswith(("SUBFAILED", "FAILED")):
            assert line in there.out


def test_too_late_is_too_late(write: Write) -> None:
    """A call that the request for stacks interrupts does not let an overdue test pass."""
    folder = write(
        "import ctypes\n"
        "@pytest.mark.isolated(timeout=1)\n"
        "def test_it():\n    ctypes.PyDLL(None).sleep(1000)\n"
    )
    done = run_warm(folder)
    assert done.counts == {"failed": 1}
    assert "longer than timeout=1 s" in done.out


def test_plugins_that_begin_at_the_setup(write: Write) -> None:
    """A crash's report suits plugins that keep, from its setup's report on, notes of a test."""
    folder = write("def test_it():\n    os._exit(3)\n")
    (folder / "conftest.py").write_text(
        "import pytest\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_runtest_makereport(item, call):\n"
        "    report = yield\n"
        "    if report.when == 'setup':\n"
        "        item.noted = []\n"
        "    item.noted.append(report.outcome)\n"
        "    return report\n"
    )
    done = run_warm(folder)
    assert "INTERNALERROR" not in done.out
    assert done.counts == {"failed": 1}


def test_no_summary_of_the_other_pytest(write: Write) -> None:
    """A death on the way out does not show what the test's own pytest summed up."""
    done = run_warm(write("import atexit\ndef test_it():\n    atexit.register(os.abort)\n"))
    if "error" in done.counts:  # A fork leaves without its parent's exit handlers.
        assert "no tests ran" not in done.out
    else:
        assert done.counts == {"passed": 1}


def test_daemons_go_with_the_process(write: Write) -> None:
    """A process that moved to a session of its own is ended with the test that left it."""
    import psutil

    folder = write(
        "import subprocess\n"
        "def test_it():\n"
        "    process = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "    with open('pid', 'w') as file:\n        file.write(str(process.pid))\n"
    )
    assert run_warm(folder).counts == {"passed": 1}
    pid = int((folder / "pid").read_text())

    def ended() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # init's turn
        except psutil.NoSuchProcess:
            return True

    wait_until(ended)  # SIGKILL was sent: on a busy machine it is not over at once
