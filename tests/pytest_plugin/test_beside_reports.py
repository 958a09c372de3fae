"""What a test's process and pytest tell each other beside reports, and what cannot disturb them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.pytest_plugin.harness import PASSED, run, run_warm

pytestmark = pytest.mark.timeout(600)

CONTEXTS = ["spawn", "fork"]


def write(folder: Path, text: str, name: str = "test_it.py") -> Path:
    """Write a file, and give its folder."""
    (folder / name).write_text(textwrap.dedent(text))
    return folder


MOCKED = """
    import itertools, os, select, subprocess, time
    import pytest

    def broken(*args, **kwargs):
        raise AssertionError("not meant for the plugin")

    @pytest.fixture(scope="module", autouse=True)
    def world():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: 0.0)
            patch.setattr(time, "perf_counter", lambda: 0.0)
            patch.setattr(time, "time", itertools.repeat(1.0, 3).__next__)
            patch.setattr(time, "sleep", broken)
            patch.setattr(subprocess, "Popen", broken)
            patch.setattr(select, "poll", broken)
            for name in ("kill", "killpg", "waitid", "waitpid", "fork", "pipe", "pread"):
                patch.setattr(os, name, broken)
            yield

    def test_here(): pass

    @pytest.mark.isolated(context={context!r}, timeout=1)
    def test_hangs(): select.select([], [], [], 60)

    @pytest.mark.isolated(context={context!r})
    def test_passes(): pass
"""


@pytest.mark.parametrize("context", CONTEXTS)
def test_mocks_of_a_wider_fixture_do_not_reach_the_plugin(tmp_path: Path, context: str) -> None:
    """Clocks, processes and files that tests have patched are the tests' alone."""
    done = run_warm(write(tmp_path, MOCKED.format(context=context)))

    assert done.counts == {"failed": 1, "passed": 2}, done.out
    assert "longer than timeout=1 s" in done["test_hangs"].bad["text"]
    assert done["test_passes"].shape == PASSED


def test_what_plugins_have_decided_holds_in_the_process(tmp_path: Path) -> None:
    """An option that a plugin sets when pytest is configured is the same in a test's process."""
    write(
        tmp_path,
        """
        import os, random

        def pytest_addoption(parser):
            parser.addoption("--drawn", default=None)

        def pytest_configure(config):
            if config.option.drawn is None:
                config.option.drawn = f"{random.random()} {os.getpid()}"
        """,
        "conftest.py",
    )
    write(
        tmp_path,
        """
        import os, pytest

        def test_here(request):
            assert request.config.option.drawn.endswith(f" {os.getpid()}")

        @pytest.mark.isolated
        def test_there(request):
            assert request.config.option.drawn.endswith(f" {os.getppid()}")
        """,
    )

    assert run_warm(tmp_path).counts == {"passed": 2}


@pytest.mark.parametrize("context", CONTEXTS)
def test_what_is_recorded_for_the_xml_report_is_in_it(tmp_path: Path, context: str) -> None:
    """Attributes of a test and properties of the suite reach pytest's own report."""
    write(
        tmp_path,
        f"""
        import pytest
        pytestmark = pytest.mark.isolated(context={context!r})

        def test_one(record_xml_attribute, record_testsuite_property, record_property):
            record_xml_attribute("assertions", 12)
            record_testsuite_property("storage", "fast")
            record_property("size", 3)
        """,
    )
    run_warm(tmp_path, "--junitxml=report.xml", "-o", "junit_family=xunit1")
    report = (tmp_path / "report.xml").read_text()

    assert 'assertions="12"' in report
    assert '<property name="storage" value="fast"' in report
    assert '<property name="size" value="3"' in report


@pytest.mark.parametrize("context", CONTEXTS)
def test_setup_show_shows_fixtures_of_the_process(tmp_path: Path, context: str) -> None:
    """``--setup-show`` tells of an isolated test's fixtures as of any other's."""
    write(
        tmp_path,
        f"""
        import pytest

        @pytest.fixture
        def engine(): yield 1

        @pytest.mark.isolated(context={context!r})
        def test_one(engine): pass
        """,
    )
    done = run_warm(tmp_path, "--setup-show")

    assert "SETUP    F engine" in done.out
    assert "test_one (fixtures used: engine" in done.out
    assert "TEARDOWN F engine" in done.out


def test_what_cannot_be_carried_is_said_once(tmp_path: Path) -> None:
    """Figures that a plugin keeps in a test's process are missed with a warning, one a run."""
    write(
        tmp_path,
        """
        import pytest
        pytestmark = pytest.mark.isolated(context="fork")

        @pytest.fixture
        def benchmark(): return lambda call: call()

        def test_one(benchmark): benchmark(int)
        def test_two(benchmark): benchmark(int)
        """,
    )
    done = run_warm(tmp_path)

    assert done.counts == {"passed": 2, "warning": 1}, done.out
    assert "pytest-benchmark's fixture 'benchmark' stay in the process" in done.out


SKIPS = """
    import pytest
    pytestmark = pytest.mark.isolated(group={group!r}, context={context!r})

    class TestIt:
        @pytest.fixture(scope="class")
        def resource(self):
            with open("ups", "a") as file: file.write("x")
            yield 1
            with open("downs", "a") as file: file.write("x")

        @pytest.mark.skip
        def test_0(self, resource): pass
        def test_1(self, resource): pass
        @pytest.mark.skip
        def test_2(self, resource): pass
        @pytest.mark.skipif(True, reason="no")
        def test_3(self, resource): pass
        def test_4(self, resource): pass
        @pytest.mark.xfail(run=False)
        def test_5(self, resource): pass

    @pytest.mark.skip
    def test_last(): pass
"""


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("group", ["class", "module"])
def test_a_skipped_test_splits_no_group(tmp_path: Path, group: str, context: str) -> None:
    """The tests of a group share its process and its fixtures past those that are skipped."""
    text = SKIPS.format(group=group, context=context)
    if group == "class":
        text = text.replace("    @pytest.mark.skip\n    def test_last(): pass\n", "")
    done = run_warm(write(tmp_path, text))

    assert done.counts["passed"] == 2, done.out
    assert (tmp_path / "ups").read_text() == "x"
    assert (tmp_path / "downs").read_text() == "x"


CANNOT = """
    import os, pytest, resource, shutil, tempfile

    @pytest.fixture(scope="module", autouse=True)
    def world():
        {world}
        yield
        {after}

    def test_here(): pass

    @pytest.mark.isolated(context={context!r})
    def test_one(): pass
"""
WORLDS = {
    "no folder for temporary files": (
        "tempfile.tempdir = os.path.abspath('gone')",
        "tempfile.tempdir = None",
        "TMPDIR",
    ),
    "no open files left": (
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE); "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) + 3, hard))",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))",
        "ulimit -n",
    ),
}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("world", WORLDS)
def test_a_process_that_cannot_be_started_is_an_error_of_the_test(
    tmp_path: Path, world: str, context: str
) -> None:
    """What the system refuses fails the setup of that test, with a mend, and no other test."""
    before, after, mend = WORLDS[world]
    text = CANNOT.format(world=before, after=after, context=context)
    done = run_warm(write(tmp_path, text + "\n    def test_after(): pass\n"))

    assert done.counts == {"passed": 2, "error": 1}, done.out
    assert "could not be started" in done["test_one"].bad["text"]
    assert mend in done["test_one"].bad["text"]
    assert "INTERNALERROR" not in done.out + done.err


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_test_that_asks_the_terminal_is_not_stopped(tmp_path: Path, context: str) -> None:
    """An isolated test has no terminal to be stopped by, though pytest was started at one."""
    write(
        tmp_path,
        f"""
        import pytest

        @pytest.mark.isolated(context={context!r}, timeout=60)
        def test_asks():
            with pytest.raises(OSError):
                open("/dev/tty").read(1)
        """,
    )
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "import pty; pty.spawn(%r)"]
    command[2] %= [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    try:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "PYTEST_ADDOPTS": ""},
        )
    finally:
        os.close(ours)
        os.close(theirs)

    assert "1 passed" in done.stdout, done.stdout


DJANGO = {
    "settings.py": """
        from pathlib import Path
        SECRET_KEY = "x"
        INSTALLED_APPS = ["django.contrib.contenttypes"]
        HERE = Path(__file__).parent
        DATABASES = {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": HERE / "db.sqlite3",
                "TEST": {"NAME": str(HERE / "test.sqlite3")},
            }
        }
    """,
    "test_it.py": """
        import pytest
        from django.contrib.contenttypes.models import ContentType
        from django.db import connection

        def made(name):
            ContentType.objects.create(app_label=name, model=name)
            return connection.settings_dict["NAME"]

        @pytest.mark.django_db
        def test_before():
            assert made("before").endswith("test.sqlite3")

        @pytest.mark.isolated
        @pytest.mark.django_db
        def test_there():
            assert made("there").endswith("test.sqlite3_isolated")

        @pytest.mark.django_db(transaction=True)
        def test_after():
            assert made("after").endswith("test.sqlite3")
    """,
}


def test_a_test_database_of_its_own(tmp_path: Path) -> None:
    """Under pytest-django a test's process uses, and ends, a database beside pytest's own."""
    for name, text in DJANGO.items():
        write(tmp_path, text, name)
    done = run(tmp_path, "-p", "pytest_django.plugin", "--ds=settings", path=str(tmp_path))

    assert done.counts == {"passed": 3}, done.out + done.err
    assert [file.name for file in tmp_path.glob("*sqlite3*")] == []
