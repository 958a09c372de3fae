# mypy: ignore-errors
# ruff: noqa
"""Where fixtures live."""

import os

import pytest


def test_before(whole, wide):
    assert whole == wide == os.getpid()


@pytest.mark.isolated
def test_fresh(whole, wide, narrow):
    assert whole == wide == narrow == os.getpid()


@pytest.mark.isolated(context="fork")
def test_forked(whole, wide, narrow):
    assert whole == wide == os.getppid()
    assert narrow == os.getpid()


def test_after(whole, wide):
    assert whole == wide == os.getpid()


def test_nothing_leaked():
    assert "BATTERY_LEAK" not in os.environ
    assert os.getcwd() != "/"
