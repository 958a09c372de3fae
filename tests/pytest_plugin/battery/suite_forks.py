# mypy: ignore-errors
# ruff: noqa
"""``context="fork"``."""

import ctypes
import os
import sys
import time
import warnings

import pytest

pytestmark = pytest.mark.isolated(context="fork")

GLOBAL = []


def test_fork_passes():
    GLOBAL.append(1)
    print("said in a fork")


def test_fork_is_alone():
    assert GLOBAL == []


def test_fork_fails():
    print("to stdout")
    os.write(2, b"to descriptor 2\n")
    warnings.warn("forked warning")
    assert [1] == [2]


def test_fork_crashes():
    print("said before the crash")
    ctypes.string_at(0)


def test_fork_exits():
    os._exit(7)


@pytest.mark.isolated(timeout=0.5)
def test_fork_hangs():
    time.sleep(600)


@pytest.mark.isolated(memory_limit="60MB")
def test_fork_takes_memory():
    held = []
    while True:
        held.append(bytearray(10**6))


@pytest.mark.xfail
def test_fork_expected_crash():
    os._exit(1)


def test_fork_skips():
    pytest.skip("in a fork")


def test_fork_errs(broken_teardown):
    pass


def test_fork_exits_cleanly():
    sys.exit(3)
