# mypy: ignore-errors
# ruff: noqa
"""Whatever a test may do without dying."""

import logging
import os
import subprocess
import sys
import threading
import time
import unittest
import warnings

import pytest

pytestmark = pytest.mark.isolated

GLOBAL = []
HOME = os.getpid()


def test_passes():
    print("said in passing")


def test_runs_elsewhere(pytestconfig):
    from conftest import note

    note("elsewhere")


def test_compares():
    have, want = {"a": [1, 2, 3]}, {"a": [1, 2, 4]}
    assert have == want


def test_prints():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"to descriptor 1\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    logging.getLogger("battery").warning("to the log")
    assert not "shown"


def test_takes_a_while():
    time.sleep(0.3)


def test_warns():
    warnings.warn("mind the gap", DeprecationWarning)


def test_warns_oddly(custom_warning):
    pass


def test_records(record_property):
    record_property("answer", 42)
    record_property("where", os)


@pytest.mark.skip(reason="by mark")
def test_skipped_by_mark():
    pass


@pytest.mark.skipif("sys.platform != 'none'", reason="by condition")
def test_skipped_by_condition():
    pass


def test_skips_itself():
    pytest.skip("by itself")


@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    raise RuntimeError


@pytest.mark.xfail(raises=KeyError)
def test_fails_otherwise():
    raise RuntimeError


@pytest.mark.xfail(strict=True)
def test_passes_against_strict_expectation():
    pass


@pytest.mark.xfail(strict=False)
def test_passes_against_expectation():
    pass


@pytest.mark.xfail(run=False, reason="do not")
def test_must_not_run():
    os._exit(9)


def test_errs_in_setup(broken_setup):
    pass


def test_errs_in_teardown(broken_teardown):
    pass


def test_fails_and_errs(broken_teardown):
    assert 0


@pytest.mark.parametrize("value", ["x", "a::b", "[c]", "ü", "sp ace", "/"])
def test_parametrized(value):
    assert value != "[c]"


def test_exits():
    sys.exit(3)


def test_interrupts():
    raise KeyboardInterrupt


def test_leaks():
    GLOBAL.append(1)
    os.environ["BATTERY_LEAK"] = "1"
    os.chdir("/")
    os.umask(0o777)
    sys.path.insert(0, "/nowhere")
    sys.modules["leaked"] = sys
    logging.disable(logging.CRITICAL)


def test_leaves_a_thread(left_thread):
    assert left_thread.is_alive()


def test_leaves_a_process():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "battery-leftover"])


def test_closes_everything():
    os.closerange(3, 4096)


def test_patches_os(monkeypatch):
    monkeypatch.setattr(os, "write", None)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr("pickle.dumps", None)
    monkeypatch.setattr("time.time", lambda: 0)


def test_captures(capfd, capsys):
    pass


def test_captures_descriptors(capfd):
    os.write(1, b"x")
    assert capfd.readouterr().out == "x"


def test_shows_past_the_capture(capsys):
    with capsys.disabled():
        print("seen past the capture")


def test_temporary_folder(tmp_path):
    from conftest import note

    (tmp_path / "file").write_text("x")
    note("tmp_path", str(tmp_path))


def test_forks():
    if (pid := os.fork()) == 0:
        return  # back into pytest, as a copy
    os.waitpid(pid, 0)


def test_subtests(request):
    if "subtests" not in dir(pytest) and not hasattr(pytest, "Subtests"):
        pytest.skip("no subtests here")
    subtests = request.getfixturevalue("subtests")
    for number in range(3):
        with subtests.test(number=number):
            assert number != 1


class TestClass:
    def test_in_class(self):
        assert isinstance(self, TestClass)

    class TestInner:
        def test_in_inner_class(self):
            pass


class TestUnit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ready = True

    def setUp(self):
        self.pid = os.getpid()

    def test_unit(self):
        self.assertTrue(self.ready)
        self.assertEqual(self.pid, os.getpid())

    def test_unit_fails(self):
        self.assertEqual(1, 2)

    @unittest.skip("unit skip")
    def test_unit_skipped(self):
        pass

    @unittest.expectedFailure
    def test_unit_expected(self):
        self.fail()
