"""Isolated tests beside pytest's own options, and beside other plugins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pytest_plugin.harness import FAILED, PASSED, SOURCE, Run, run, run_warm, start

pytestmark = pytest.mark.timeout(1000)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a test file, and give its folder."""

    def write(source: str, name: str = "test_it.py") -> Path:
        head = "import os, sys, time, ctypes, signal, threading, pytest\n"
        (tmp_path / name).write_text(head + textwrap.dedent(source))
        return tmp_path

    return write


Write = Callable[..., Path]

THREE = """
    @pytest.mark.isolated
    def test_one():
        os._exit(1)

    @pytest.mark.isolated
    def test_two():
        pass

    def test_three():
        pass
"""


def test_stop_at_the_first(write: Write) -> None:
    """-x stops after an isolated crash, and the group's process with it."""
    folder = write(
        """
        @pytest.mark.isolated(group="class")
        class TestGroup:
            def test_one(self):
                assert 0

            def test_two(self):
                open("two", "w").close()

        def test_three():
            pass
        """
    )
    result = run_warm(folder, "-x")
    assert result.counts == {"failed": 1}
    assert not (folder / "two").exists()
    assert "stopping after 1 failures" in result.out


def test_last_failed(write: Write) -> None:
    """--lf runs the isolated crash again, and nothing else."""
    folder = write(THREE)
    assert run_warm(folder).counts == {"failed": 1, "passed": 2}
    again = run_warm(folder, "--lf").counts
    assert again["failed"] == 1
    assert "passed" not in again


def test_junit(write: Write) -> None:
    """The JUnit file has every test once, with output, message, property and time."""
    folder = write(
        """
        @pytest.mark.isolated
        def test_one(record_property):
            record_property("colour", "red")
            print("printed")
            time.sleep(0.3)

        @pytest.mark.isolated
        def test_two():
            print("printed before the crash")
            time.sleep(0.3)
            os._exit(9)
        """
    )
    result = run_warm(folder, "--junitxml=it.xml", "-o", "junit_logging=all")
    assert "Traceback" not in result.err
    one, two = xml.etree.ElementTree.parse(folder / "it.xml").iter("testcase")
    assert one.find("properties/property") is not None
    assert "printed" in (one.findtext("system-out") or "")
    failure = two.find("failure")
    assert failure is not None
    assert "exited with code 9" in failure.attrib["message"]
    assert "printed before the crash" in (two.findtext("system-out") or "")
    assert float(one.attrib["time"]) >= 0.3
    assert float(two.attrib["time"]) >= 0.3


@pytest.mark.parametrize("capture", ["no", "sys", "tee-sys", "fd"])
def test_capture_modes(write: Write, capture: str) -> None:
    """Output goes where it would go without isolation, and survives a crash."""
    folder = write(
        """
        @pytest.mark.isolated
        def test_one():
            print("from one")

        @pytest.mark.isolated
        def test_two():
            print("from two")
            os._exit(1)
        """
    )
    result = run_warm(folder, f"--capture={capture}", "-rN")
    assert result.counts == {"failed": 1, "passed": 1}
    assert result.out.count("from one") == {"no": 1, "tee-sys": 1}.get(capture, 0)
    assert "from two" in result.out


@pytest.mark.parametrize("blocked", ["terminal", "faulthandler logging", "tmpdir warnings"])
def test_without_a_plugin(write: Write, blocked: str) -> None:
    """Without some of pytest's own plugins, all goes on, here and in the child."""
    folder = write(THREE)
    result = run_warm(folder, *(part for name in blocked.split() for part in ("-p", f"no:{name}")))
    assert result["test_one"].shape == FAILED
    assert result["test_two"].shape == PASSED


def test_without_the_plugin(write: Write) -> None:
    """-p no:procession: the marker is unknown, and nothing else happens."""
    folder = write("@pytest.mark.isolated\ndef test_one(): assert os.environ['HERE'] == '1'")
    result = run_warm(folder, "-p", "no:procession.pytest_plugin", HERE="1")
    assert result.counts["passed"] == 1


def test_conftest_options(write: Write) -> None:
    """Options of the user's own conftest are the same in the child, and so are its fixtures."""
    folder = write(
        """
        @pytest.mark.isolated
        def test_one(request, wanted):
            assert request.config.getoption("--wanted") == wanted == "cake"
        """
    )
    (folder / "conftest.py").write_text(
        textwrap.dedent(
            """
            import pytest

            def pytest_addoption(parser):
                parser.addoption("--wanted")

            @pytest.fixture(scope="session")
            def wanted(request):
                return request.config.getoption("wanted")
            """
        )
    )
    assert run_warm(folder, "--wanted", "cake").counts == {"passed": 1}


def test_import_modes(write: Write) -> None:
    """--import-mode=importlib, with the same file name in two folders."""
    for name in ("a", "b"):
        (write("") / name).mkdir()
        source = f"@pytest.mark.isolated\ndef test_{name}():\n"
        write(f"{source}    assert '/{name}/' in __file__\n", f"{name}/test_it.py")
    result = run_warm(write("", "test_it.py"), "--import-mode=importlib", "a", "b")
    assert result.counts == {"passed": 2}


def test_warnings_as_errors(write: Write) -> None:
    """-W error holds in the child, and the machinery itself warns of nothing."""
    folder = write(
        """
        import warnings

        @pytest.mark.isolated
        def test_one():
            warnings.warn("no")

        @pytest.mark.isolated
        def test_two():
            pass

        @pytest.mark.isolated(context="fork")
        def test_three():
            pass
        """
    )
    result = run_warm(folder, "-W", "error")
    assert result["test_one"].shape == FAILED
    assert result.counts == {"failed": 1, "passed": 2}


def test_exit_ends_the_session(write: Write) -> None:
    """pytest.exit() in an isolated test ends the session, as it would without isolation."""
    folder = write(
        """
        @pytest.mark.isolated
        def test_one():
            pytest.exit("enough", returncode=7)

        def test_two():
            pass
        """
    )
    result = run_warm(folder)
    assert result.code == 7
    assert "enough" in result.out


def test_debugger(write: Write) -> None:
    """--pdb is refused with the way out, which works; breakpoint() fails its test with a hint."""
    folder = write(
        """
        @pytest.mark.isolated
        def test_one():
            breakpoint()
        """
    )
    refused = run_warm(folder, "--pdb")
    assert refused.code == pytest.ExitCode.USAGE_ERROR
    assert "--procession-isolation=off" in refused.err
    assert "test_it.py::test_one" in refused.err
    failed = run_warm(folder)
    assert failed.counts == {"failed": 1}
    assert "--procession-isolation=off" in failed["test_one"].bad["text"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("timeuot=3", ["'timeuot'", "timeout=3"]),
        ("memory='1MB'", ["'memory'", "memory_limit='1MB'"]),
        ("max_time=3", ["timeout=3"]),
        ("timeout='3'", ["timeout='3'", "seconds"]),
        ("timeout=0", ["timeout=0"]),
        ("timeout=True", ["timeout=True"]),
        ("memory_limit='lots'", ["memory_limit='lots'", "'512MB'"]),
        ("context='thread'", ["context='thread'", "'spawn'", "'fork'"]),
        ("group='session'", ["group='session'", "'class'", "'module'"]),
        ("group='class'", ["group='class'", "in no class"]),
        ("3", ["keywords only", "timeout=3"]),
    ],
)
def test_wrong_arguments(write: Write, given: str, words: list[str]) -> None:
    """A wrong argument of the marker is a usage error that names the test and the mend."""
    folder = write(f"@pytest.mark.isolated({given})\ndef test_one(): pass\ndef test_two(): pass")
    result = run_warm(folder)
    assert result.code == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.err.splitlines() if line.startswith("ERROR")]
    for word in ["test_it.py::test_one", *words]:
        assert word in line


def test_wrong_arguments_under_xdist(write: Write) -> None:
    """Under xdist the test itself says so: a worker cannot stop a run."""
    pytest.importorskip("xdist")
    folder = write("@pytest.mark.isolated(timeuot=3)\ndef test_one(): pass\ndef test_two(): pass")
    result = run_warm(folder, "-p", "xdist.plugin", "-n2")
    assert "timeout=3" in result["test_one"].bad["text"]
    assert result.counts == {"passed": 1, "error": 1}


def test_nearest_marker_wins(write: Write) -> None:
    """Markers of module, class and test add up, and the nearest wins."""
    folder = write(
        """
        pytestmark = pytest.mark.isolated(timeout=0.1)

        @pytest.mark.isolated(context="fork")
        class TestOne:
            @pytest.mark.isolated(timeout=60)
            def test_one(self):
                time.sleep(0.3)

            def test_two(self):
                time.sleep(60)
        """
    )
    result = run_warm(folder)
    assert result["TestOne::test_one"].shape == PASSED
    assert "timeout=0.1" in result["TestOne::test_two"].bad["text"]


def test_other_name(write: Write) -> None:
    """procession_marker renames the marker, for help, for tests and for messages."""
    folder = write("@pytest.mark.alone(timeuot=1)\ndef test_one(): pass")
    result = run_warm(folder, "-o", "procession_marker=alone")
    assert "@pytest.mark.alone(timeout=1)" in result.err
    assert (
        "@pytest.mark.alone(timeout=None"
        in run_warm(folder, "-o", "procession_marker=alone", "--markers").out
    )
    assert "procession_marker" in run_warm(folder, "-o", "procession_marker=a-b").err


def test_clash_with_pytest_isolated(write: Write) -> None:
    """Beside pytest-isolated, one usage error that names both ways out; a new name is one."""
    folder = write("@pytest.mark.alone\ndef test_one(): os._exit(1)")
    package = folder / "pytest_isolated"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text("def pytest_addoption(parser): pass\n")
    beside = ["-p", "pytest_isolated.plugin"]
    refused = run(folder, *beside, path=str(folder))
    assert refused.code == pytest.ExitCode.USAGE_ERROR
    assert refused.err.count("ERROR") == 1
    for word in ("procession_marker", "pytest-isolated", "-p no:procession"):
        assert word in refused.err
    renamed = run(folder, *beside, "-o", "procession_marker=alone", path=str(folder))
    assert renamed["test_one"].shape == FAILED


def test_header(write: Write) -> None:
    """A header line prints the settings in force, wherever they come from."""
    folder = write("def test_one(): pass")
    assert "procession: backend: as in the code" in run_warm(folder).out
    line = "procession: backend: thread, workers: 3, strict: on, isolation: off, marker: isolated"
    options = ["--procession-strict", "--procession-isolation=off", "--procession-workers=3"]
    assert line in run_warm(folder, *options, PROCESSION_BACKEND="thread").out


def test_pytest_timeout(write: Write) -> None:
    """pytest-timeout ends an isolated test from inside, and only that one, by either method."""
    pytest.importorskip("pytest_timeout")
    folder = write(
        """
        @pytest.mark.isolated
        @pytest.mark.timeout(1)
        def test_signal():
            time.sleep(60)

        @pytest.mark.isolated
        @pytest.mark.timeout(1, method="thread")
        def test_thread():
            print("before")
            time.sleep(60)

        @pytest.mark.isolated
        @pytest.mark.timeout(1)
        def test_deaf():
            sum(range(10**12))

        @pytest.mark.isolated
        @pytest.mark.timeout(30)
        def test_fast():
            pass
        """
    )
    result = run_warm(folder, "-p", "pytest_timeout")
    assert result.counts == {"failed": 3, "passed": 1}
    assert "Timeout (>1.0s)" in result["test_signal"].bad["text"]
    bad = result["test_thread"].bad
    assert "test_thread" in bad["sections"]["Terminal output of the test's process"]
    assert "before" in str(bad["sections"])
    assert "in test_deaf" in result["test_deaf"].bad["text"]


@pytest.mark.parametrize("distributed", [[], ["-p", "xdist.plugin", "-n2"]])
def test_coverage(write: Write, distributed: list[str]) -> None:
    """pytest-cov counts the lines that only isolated tests run, and loses no others."""
    pytest.importorskip("pytest_cov")
    folder = write(
        """
        import measured

        @pytest.mark.isolated
        def test_one():
            assert measured.double(2) == 4

        @pytest.mark.isolated(context="fork")
        def test_two():
            assert measured.half(2) == 1

        def test_three():
            assert measured.same(2) == 2
        """
    )
    (folder / "measured.py").write_text(
        "def double(x):\n    return x * 2\n\n\n"
        "def half(x):\n    return x / 2\n\n\n"
        "def same(x):\n    return x\n\n\n"
        "def never(x):\n    return -x\n"
    )
    wanted = ["-p", "pytest_cov.plugin", "--cov=measured", "--cov-report=term-missing"]
    result = run_warm(folder, *wanted, *distributed)
    assert result.counts == {"passed": 3}
    (line,) = [line for line in result.out.splitlines() if line.startswith("measured.py")]
    assert line.split()[-2:] == ["88%", "14"]
    assert not [name for name in os.listdir(folder) if name.startswith(".coverage.")]


def _children(pid: int) -> set[int]:
    listed = subprocess.run(
        ["ps", "-eo", "pid,pgid,ppid"], capture_output=True, text=True, check=True
    )
    rows = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()[1:]]
    direct = {row[0] for row in rows if row[2] == pid}
    return {row[0] for row in rows if row[1] in direct or row[0] in direct}


def _until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


BUSY = """
    import subprocess

    @pytest.mark.isolated(context="{context}")
    def test_one():
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open("ready", "w").close()
        sum(range(10**12))
"""


@pytest.mark.parametrize("context", ["spawn", "fork"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_pytest(write: Write, context: str, end: signal.Signals) -> None:
    """However pytest ends, the test's process ends with it, and its children too; quietly."""
    folder = write(BUSY.format(context=context))
    process = start(folder)
    try:
        _until((folder / "ready").exists)
        started = _children(process.pid)
        assert len(started) >= 2
        process.send_signal(end)
        result = Run(folder, process, 60)
        _until(lambda: not any(map(_alive, started)), 10)
    finally:
        process.kill()
        process.wait()
    if end == signal.SIGINT:
        assert result.code == pytest.ExitCode.INTERRUPTED
        assert "KeyboardInterrupt" in result.out
        assert result.err == ""
        assert "Traceback" not in result.out


def test_no_name_is_left(write: Write, tmp_path: Path) -> None:
    """Killed in the middle of a test, pytest leaves no file of ours behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    folder = write(BUSY.format(context="spawn"))
    process = start(folder, TMPDIR=str(temporary), PYTEST_DEBUG_TEMPROOT=str(tmp_path))
    try:
        _until((folder / "ready").exists)
    finally:
        process.kill()
        process.communicate()
    assert [name for name in os.listdir(temporary) if "procession" in name] == []


def test_own_fixtures_are_torn_down_in_time(write: Write) -> None:
    """A module's fixtures end before the next module's tests, though the last test was isolated;
    an error in that is the last test's."""
    folder = write(
        """
        @pytest.fixture(scope="module")
        def wide():
            yield
            print("torn down")
            raise ValueError("cannot end")

        def test_one(wide):
            pass

        @pytest.mark.isolated
        def test_two():
            pass
        """,
        "test_a.py",
    )
    write("def test_three():\n    pass\n", "test_b.py")
    result = run_warm(folder)
    assert result["test_two"].shape == "setup:passed call:passed teardown:passed teardown:failed"
    bad = result["test_two"].bad
    assert "cannot end" in bad["text"]
    assert bad["sections"]["Captured stdout teardown"] == "torn down\n"


def test_not_collected_again(write: Write) -> None:
    """A test whose id is another one in its own process fails, and says why."""
    folder = write(
        """
        @pytest.mark.isolated
        @pytest.mark.parametrize("pid", [f"pid{os.getpid()}"])
        def test_one(pid):
            pass
        """
    )
    assert "must not depend on the process" in run_warm(folder).out


def test_import_fails_there(write: Write) -> None:
    """A file that cannot be imported in the test's process says so, with the error."""
    folder = write(
        """
        open("seen", "a").write("x")
        assert open("seen").read() == "x", "only once"

        @pytest.mark.isolated
        def test_one():
            pass
        """
    )
    text = run_warm(folder)["test_one"].bad["text"]
    assert "could not be collected" in text
    assert "only once" in text


def test_brackets_in_the_path(write: Write) -> None:
    """A folder with brackets in its name, which pytest takes for parameters."""
    folder = write("") / "sub[1]"
    folder.mkdir()
    write("@pytest.mark.isolated\ndef test_one(): pass", "sub[1]/test_other.py")
    assert run_warm(write(""), str(folder.parent)).counts == {"passed": 1}


def test_own_path(write: Write) -> None:
    """Modules are found as pytest found them, whatever was added to the path since."""
    folder = write("")
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "helper.py").write_text(f"NAME = {name!r}\n")
        source = f"@pytest.mark.isolated\ndef test_{name}():\n    import helper\n"
        write(f"{source}    assert helper.NAME == {name!r}\n", f"{name}/test_{name}.py")
    assert run_warm(folder).counts == {"passed": 2}


def test_log_file(write: Write) -> None:
    """--log-file keeps what was logged before and after an isolated test."""
    folder = write(
        """
        import logging

        def test_one():
            logging.warning("before")

        @pytest.mark.isolated
        def test_two():
            logging.warning("there")

        def test_three():
            logging.warning("after")
        """
    )
    run_warm(folder, "--log-file=it.log")
    text = (folder / "it.log").read_text()
    assert [word for word in ("before", "there", "after") if word in text] == [
        "before",
        "there",
        "after",
    ]
    assert "\0" not in text


def test_light() -> None:
    """Loading the plugin imports none of its heavy parts."""
    code = "import sys, pytest, procession.pytest_plugin; print(*sorted(sys.modules))"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    ours = {name for name in loaded if name.startswith("procession")}
    kept = {"procession.pytest_isolation", "procession.pytest_isolation.unpatched"}
    assert ours == {"procession", "procession.pytest_plugin"} | kept
    assert not {"multiprocessing", "asyncio", "concurrent.futures", "numpy"} & loaded
