"""Everything a test may do, isolated, in one run of pytest; plain, and under xdist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pytest_plugin.harness import BATTERY, EXPECTED, FAILED, PASSED, SKIPPED, Run, run

pytestmark = pytest.mark.timeout(1000)


CRASHES = ["suite_crashes.py", "suite_scopes.py", "suite_forks.py", "suite_groups.py"]


def _run(folder: Path, *arguments: str) -> Run:
    for file in BATTERY.glob("suite_*.py"):
        shutil.copy(file, folder)
    return run(folder, *arguments, "--basetemp", str(folder / "tmp"))


@pytest.fixture(scope="module")
def battery(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The one run of all files, which every test looks at."""
    return _run(tmp_path_factory.mktemp("battery"), "suite_outcomes.py", *CRASHES)


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run under xdist. Of what ends well or badly by itself there is enough in these files."""
    pytest.importorskip("xdist")
    spread = ["-p", "xdist.plugin", "-n2", "--dist=loadscope"]
    return _run(tmp_path_factory.mktemp("distributed"), *spread, *CRASHES)


@pytest.fixture(params=["battery", "distributed"])
def either(request: pytest.FixtureRequest) -> Run:
    """Each of the two."""
    found: Run = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Groups and scopes, run beside all other plugins of this environment."""
    folder = tmp_path_factory.mktemp("together")
    files = ["suite_scopes.py", "suite_groups.py"]
    for name in files:
        shutil.copy(BATTERY / name, folder)
    return run(folder, *files, "-p", "no:cacheprovider", plugins=True)


def test_with_all_that_is_installed(battery: Run, together: Run) -> None:
    """Beside all other plugins, groups and scopes are what they are alone."""
    assert together.err == ""
    shapes = {name: test.shape for name, test in together.tests.items()}
    assert shapes
    assert shapes == {name: battery.tests[name].shape for name in shapes}


def test_under_xdist(battery: Run, distributed: Run) -> None:
    """xdist brings home what comes of each test, and what it has said."""
    assert len(distributed.tests) > 40
    for name, test in distributed.tests.items():
        here = battery.tests[name]
        assert test.shape == here.shape
        assert test.warnings == here.warnings
        if test.shape == FAILED:
            assert stdout(test.bad) == stdout(here.bad)
            assert stderr(test.bad).splitlines()[:1] == stderr(here.bad).splitlines()[:1]
            assert _first_line(test.bad["text"]) == _first_line(here.bad["text"])


def _first_line(text: str) -> str:
    """Of an error; without numbers, nor the line by which xdist says where it came from."""
    first = re.sub(r"^\[gw.*\n+", "", text).strip().partition("\n")[0]
    return re.sub(r"\d+", "N", first)


@pytest.mark.parametrize("workers", [0, 2])
def test_coroutines(workers: int, tmp_path: Path) -> None:
    """Tests that are coroutines pass, as the plugins for them run in the tests' processes."""
    shutil.copy(BATTERY / "suite_async.py", tmp_path)
    spread = ["-p", "xdist.plugin", f"-n{workers}"] if workers else []
    tests = run(tmp_path, *spread, "suite_async.py", coroutines=True)
    assert tests.err == ""
    assert tests["test_asyncio"].shape == PASSED
    assert tests["test_anyio"].shape == PASSED


def stdout(report: dict[str, object], of: str = "call") -> str:
    """What a report shows as a phase's output."""
    sections = report["sections"]
    assert isinstance(sections, dict)
    return str(sections.get(f"Captured stdout {of}", ""))


def stderr(report: dict[str, object], of: str = "call") -> str:
    """What a report shows as a phase's errors."""
    sections = report["sections"]
    assert isinstance(sections, dict)
    return str(sections.get(f"Captured stderr {of}", ""))


def test_no_noise(either: Run) -> None:
    """Children print nothing of their own to the terminal."""
    assert either.err == "", either.err
    assert either.out.count("test session starts") == 1
    assert "INTERNALERROR" not in either.out
    assert either.code == 1


@pytest.mark.parametrize(
    "name",
    [
        "test_passes",
        "test_runs_elsewhere",
        "test_takes_a_while",
        "test_warns",
        "test_warns_oddly",
        "test_records",
        "test_passes_against_expectation",
        "test_parametrized[x]",
        "test_parametrized[a::b]",
        "test_parametrized[sp ace]",
        "test_parametrized[/]",
        "test_leaks",
        "test_leaves_a_thread",
        "test_leaves_a_process",
        "test_patches_os",
        "test_captures_descriptors",
        "test_shows_past_the_capture",
        "test_temporary_folder",
        "test_forks",
        "TestClass::test_in_class",
        "TestInner::test_in_inner_class",
        "TestUnit::test_unit",
        "test_maps_much_and_takes_little",
        "TestAfterwards::test_goes_on",
        "test_before",
        "test_fresh",
        "test_forked",
        "test_after",
        "test_nothing_leaked",
        "test_fork_passes",
        "test_fork_is_alone",
        "TestShared::test_one",
        "TestShared::test_two",
        "TestShared::test_four",
        "TestShared::test_five",
        "TestForked::test_one",
        "TestForked::test_two",
        "suite_groups.py::test_plain",
    ],
)
def test_what_passes(battery: Run, name: str) -> None:
    """A test that passes here passes there, with its three reports."""
    assert battery[name.removeprefix("suite_groups.py::")].shape == PASSED


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("test_compares", FAILED),
        ("test_prints", FAILED),
        ("test_skipped_by_mark", SKIPPED),
        ("test_skipped_by_condition", SKIPPED),
        ("test_skips_itself", EXPECTED),
        ("test_expected_to_fail", EXPECTED),
        ("test_fails_otherwise", FAILED),
        ("test_passes_against_strict_expectation", FAILED),
        ("test_must_not_run", SKIPPED),
        ("test_errs_in_setup", "setup:failed teardown:passed"),
        ("test_errs_in_teardown", "setup:passed call:passed teardown:failed"),
        ("test_fails_and_errs", "setup:passed call:failed teardown:failed"),
        ("test_parametrized[[c]]", FAILED),
        ("test_exits", FAILED),
        ("test_interrupts", FAILED),
        ("test_closes_everything", "setup:passed call:failed teardown:failed"),
        ("test_captures", "setup:failed teardown:passed"),
        ("TestUnit::test_unit_fails", FAILED),
        ("TestUnit::test_unit_expected", EXPECTED),
        ("test_segfault", FAILED),
        ("test_abort", FAILED),
        ("test_exits_with_7", FAILED),
        ("test_exits_with_0", FAILED),
        ("test_killed", FAILED),
        ("test_terminated", FAILED),
        ("test_kills_from_a_thread", FAILED),
        ("test_hangs", FAILED),
        ("test_hangs_in_c", FAILED),
        ("test_hangs_with_a_grandchild", FAILED),
        ("test_exits_with_a_grandchild", FAILED),
        ("test_takes_memory", FAILED),
        ("test_dies_in_setup", "setup:failed teardown:passed"),
        ("test_dies_in_teardown", "setup:passed call:passed teardown:failed"),
        ("test_dies_on_its_way_out", "setup:passed call:passed teardown:failed"),
        ("test_expected_crash", EXPECTED),
        ("test_strictly_expected_crash", EXPECTED),
        ("test_crash_expected_elsewhere", FAILED),
        ("test_crash_instead_of_what_was_expected", FAILED),
        ("test_expected_timeout", EXPECTED),
        ("test_fork_fails", FAILED),
        ("test_fork_crashes", FAILED),
        ("test_fork_exits", FAILED),
        ("test_fork_hangs", FAILED),
        ("test_fork_takes_memory", FAILED),
        ("test_fork_expected_crash", EXPECTED),
        ("test_fork_skips", EXPECTED),
        ("test_fork_errs", "setup:passed call:passed teardown:failed"),
        ("test_fork_exits_cleanly", FAILED),
        ("TestShared::test_crash", FAILED),
    ],
)
def test_what_does_not_pass(battery: Run, name: str, shape: str) -> None:
    """Each phase has the outcome it would have had here; a crash fails the phase it came in."""
    assert battery[name].shape == shape, battery[name].reports


def test_introspection(battery: Run) -> None:
    """A failed assertion explains itself."""
    text = battery["test_compares"].bad["text"]
    assert "assert {'a': [1, 2, 3]} == {'a': [1, 2, 4]}" in text
    assert "suite_outcomes.py" in text


def test_output(battery: Run) -> None:
    """Everything printed is captured, by whatever way and process it came."""
    bad = battery["test_prints"].bad
    assert stdout(bad) == "to stdout\nto descriptor 1\nfrom a child\n"
    assert stderr(bad) == "to stderr\n"
    assert "to the log" in bad["sections"]["Captured log call"]
    assert "said in passing" in stdout(battery["test_passes"].phase("call"))


def test_output_of_fixtures(battery: Run) -> None:
    """What fixtures print is with their phase."""
    assert stdout(battery["test_errs_in_setup"].bad, "setup") == "printed in setup\n"
    assert stdout(battery["test_errs_in_teardown"].bad, "teardown") == "printed in teardown\n"


def test_past_the_capture(battery: Run) -> None:
    """capsys.disabled() reaches the terminal."""
    assert "seen past the capture" in battery.out + battery.err


def test_durations(battery: Run) -> None:
    """A phase's duration is the test's own, not its process's, and a crash has one too."""
    assert battery["test_takes_a_while"].phase("call")["duration"] >= 0.3
    assert battery["test_exits_with_7"].phase("call")["duration"] >= 0.2
    assert battery["test_hangs"].phase("call")["duration"] >= 1.0


def test_warnings(battery: Run) -> None:
    """Warnings are repeated with their category, once."""
    assert battery["test_warns"].warnings == ["DeprecationWarning: mind the gap"]
    assert battery["test_fork_fails"].warnings == ["UserWarning: forked warning"]
    (odd,) = battery["test_warns_oddly"].warnings
    assert "bread and butter" in odd


def test_properties(battery: Run) -> None:
    """record_property crosses; what cannot be sent is sent as its text."""
    first, second = battery["test_records"].phase("call")["properties"]
    assert first == ["answer", 42]
    assert second[0] == "where"
    assert "module 'os'" in second[1]


def test_skip_reasons(battery: Run) -> None:
    """A skip keeps its reason."""
    assert battery["test_skipped_by_mark"].phase("setup")["skip"] == "Skipped: by mark"
    assert battery["test_skips_itself"].phase("call")["skip"] == "Skipped: by itself"
    assert battery["TestUnit::test_unit_skipped"].reports[-2]["skip"] == "Skipped: unit skip"


def test_expectations(battery: Run) -> None:
    """xfail keeps its reason, and is decided here if the test's process cannot."""
    assert battery["test_expected_to_fail"].phase("call")["xfail"].endswith("known")
    assert battery["test_expected_crash"].phase("call")["xfail"].endswith("crashes")
    assert battery["test_passes_against_expectation"].phase("call")["xfail"] is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_segfault", ["SIGSEGV", "Fatal Python error", "in test_segfault"]),
        ("test_abort", ["SIGABRT", "Fatal Python error", "in test_abort"]),
        ("test_exits_with_7", ["exited with code 7"]),
        ("test_exits_with_0", ["exited with code 0"]),
        ("test_killed", ["SIGKILL", "OOM"]),
        ("test_terminated", ["SIGTERM"]),
        ("test_kills_from_a_thread", ["exited with code 5"]),
        ("test_hangs", ["timeout=1 s", "in test_hangs"]),
        ("test_hangs_in_c", ["timeout=1 s", "in test_hangs_in_c"]),
        ("test_hangs_with_a_grandchild", ["timeout=1 s"]),
        ("test_takes_memory", ["150.0 MB", "in test_takes_memory"]),
        ("test_dies_in_setup", ["exited with code 3", "in its setup"]),
        ("test_dies_in_teardown", ["exited with code 4", "in its teardown"]),
        ("test_dies_on_its_way_out", ["SIGSEGV", "on its way out"]),
        ("test_interrupts", ["KeyboardInterrupt", "suite_outcomes.py"]),
        ("test_exits", ["SystemExit: 3", "suite_outcomes.py"]),
        ("test_fork_crashes", ["SIGSEGV", "in test_fork_crashes"]),
        ("test_fork_exits", ["exited with code 7"]),
        ("test_fork_hangs", ["timeout=0.5 s", "in test_fork_hangs"]),
        ("test_fork_takes_memory", ["60.0 MB"]),
        ("TestShared::test_crash", ["exited with code 3"]),
    ],
)
def test_messages(battery: Run, name: str, words: list[str]) -> None:
    """A crash says what happened, and where."""
    text = battery[name].bad["text"]
    for word in words:
        assert word in text, text
    assert "pluggy" not in text.partition("Captured")[0], "frames of the machinery"


@pytest.mark.parametrize("name", ["test_segfault", "test_fork_crashes"])
def test_output_of_a_crash(battery: Run, name: str) -> None:
    """What a test printed before it died is shown."""
    assert "said before the crash" in stdout(battery[name].bad)


def test_output_of_a_hang(battery: Run) -> None:
    """What a test printed before it was ended is shown."""
    assert "about to hang" in stdout(battery["test_hangs"].bad)
    assert "written before the crash" in stderr(battery["test_segfault"].bad)


def test_processes(battery: Run) -> None:
    """An isolated test runs in a process that no other test has seen."""
    (there,) = battery.noted("elsewhere")
    assert there != battery.pid
    assert there not in battery.noted("plain")


def test_wide_fixtures_stay(either: Run) -> None:
    """pytest's own module and session fixtures are set up once, torn down once, by itself."""
    for word in ("whole", "wide"):
        ups, downs = either.noted(f"{word} up"), either.noted(f"{word} down")
        lost = either.noted("shared", "crash")
        assert len(set(ups)) == len(ups)
        assert sorted(pid for pid in ups if pid not in lost) == sorted(downs)


def test_groups_share(either: Run) -> None:
    """A group's tests share a process; after a crash the rest share a new one."""
    (one,), (two,) = either.noted("shared", "one"), either.noted("shared", "two")
    (four,), (five,) = either.noted("shared", "four"), either.noted("shared", "five")
    assert one == two == either.noted("shared", "crash")[0]
    assert four == five != one
    assert either.noted("forked", "one") == either.noted("forked", "two")
    assert either.noted("plain")[0] not in (one, four, either.noted("forked", "one")[0])


def test_temporary_folders(battery: Run) -> None:
    """tmp_path is inside pytest's own, and still there afterwards."""
    ((_, path, _),) = [note for note in battery.notes if note[0] == "tmp_path"]
    assert os.path.exists(os.path.join(path, "file"))
    assert "/tmp/" in path


def test_nothing_is_left(either: Run) -> None:
    """No process that a test started has outlived it, in whatever group."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "battery-leftover" not in listed.stdout
