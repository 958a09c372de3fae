# mypy: ignore-errors
# ruff: noqa
"""Whatever a test may die of."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

pytestmark = pytest.mark.isolated


def test_segfault():
    print("said before the crash")
    os.write(2, b"written before the crash\n")
    ctypes.string_at(0)


def test_abort():
    os.abort()


def test_exits_with_7():
    time.sleep(0.2)
    os._exit(7)


def test_exits_with_0():
    os._exit(0)


def test_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_terminated():
    os.kill(os.getpid(), signal.SIGTERM)


def test_kills_from_a_thread():
    threading.Thread(target=lambda: os._exit(5)).start()
    time.sleep(60)


@pytest.mark.isolated(timeout=1)
def test_hangs():
    print("about to hang")
    time.sleep(600)


@pytest.mark.isolated(timeout=1)
def test_hangs_in_c():
    sum(range(10**12))


@pytest.mark.isolated(timeout=1)
def test_hangs_with_a_grandchild():
    code = "import time; time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code, "battery-leftover"])
    subprocess.Popen([sys.executable, "-c", code, "battery-leftover"], start_new_session=True)
    time.sleep(600)


def test_exits_with_a_grandchild():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "battery-leftover"])
    os._exit(1)


@pytest.mark.isolated(memory_limit="150MB")
def test_takes_memory():
    held = []
    while True:
        held.append(bytearray(10**6))


@pytest.mark.isolated(memory_limit="150MB")
def test_maps_much_and_takes_little():
    import mmap

    held = mmap.mmap(-1, 400_000_000)  # shared: not private memory
    for _ in range(300):
        held.write(b"x" * 10**6)


def test_dies_in_setup(crash_in_setup):
    pass


def test_dies_in_teardown(crash_in_teardown):
    pass


def test_dies_on_its_way_out():
    import atexit

    atexit.register(os.kill, os.getpid(), signal.SIGSEGV)


@pytest.mark.xfail(reason="crashes")
def test_expected_crash():
    os._exit(1)


@pytest.mark.xfail(reason="crashes", strict=True)
def test_strictly_expected_crash():
    ctypes.string_at(0)


@pytest.mark.xfail("sys.platform == 'none'", reason="not here")
def test_crash_expected_elsewhere():
    os._exit(1)


@pytest.mark.xfail(raises=AssertionError)
def test_crash_instead_of_what_was_expected():
    os._exit(1)


@pytest.mark.isolated(timeout=0.5)
@pytest.mark.xfail(raises=TimeoutError)
def test_expected_timeout():
    time.sleep(600)


class TestAfterwards:
    def test_goes_on(self):
        pass
