# mypy: ignore-errors
# ruff: noqa
"""Tests that share a process."""

import os

import pytest
from conftest import note


@pytest.mark.isolated(group="class")
class TestShared:
    def test_one(self, wide):
        note("shared", "one")

    def test_two(self, wide):
        note("shared", "two")

    def test_crash(self):
        note("shared", "crash")
        os._exit(3)

    def test_four(self, wide):
        note("shared", "four")

    def test_five(self):
        note("shared", "five")


@pytest.mark.isolated(group="class", context="fork")
class TestForked:
    def test_one(self):
        note("forked", "one")

    def test_two(self):
        note("forked", "two")


def test_plain():
    note("plain")
