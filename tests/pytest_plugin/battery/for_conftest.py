# mypy: ignore-errors
# ruff: noqa
"""Fixtures of the battery, and a record of all that pytest is told."""

import json
import os
import threading
import warnings

import pytest

EVENTS = os.environ["BATTERY_EVENTS"]


def note(*what):
    """Add a line to the record of what ran where."""
    with open(EVENTS, "a") as file:
        file.write(json.dumps([*what, os.getpid()]) + "\n")


class Recorder:
    """Writes down every report and warning, as the terminal and the JUnit file would see them."""

    def pytest_runtest_logreport(self, report):
        """Write a report down."""
        note(
            "report",
            report.nodeid,
            {
                "when": report.when,
                "outcome": report.outcome,
                "xfail": getattr(report, "wasxfail", None),
                "text": report.longreprtext,
                "skip": report.longrepr[2]
                if report.skipped and type(report.longrepr) is tuple
                else "",
                "sections": dict(report.sections),
                "duration": report.duration,
                "properties": report.user_properties,
            },
        )

    def pytest_warning_recorded(self, warning_message, nodeid, when):
        """Write a warning down."""
        category = warning_message.category
        note("warning", nodeid, f"{category.__name__}: {warning_message.message}", when)


def pytest_configure(config):
    """Record where the results come together: in pytest itself, or in xdist's controller."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(), "recorder")


@pytest.fixture(scope="session")
def whole():
    """A fixture for the whole session."""
    note("whole up")
    yield os.getpid()
    note("whole down")


@pytest.fixture(scope="module")
def wide():
    """A fixture for a module."""
    note("wide up")
    yield os.getpid()
    note("wide down")


@pytest.fixture
def narrow():
    """A fixture for one test."""
    note("narrow up")
    yield os.getpid()
    note("narrow down")


@pytest.fixture
def broken_setup():
    """Fails before the test."""
    print("printed in setup")
    raise ValueError("no setup")


@pytest.fixture
def broken_teardown():
    """Fails after the test."""
    yield
    print("printed in teardown")
    raise ValueError("no teardown")


@pytest.fixture
def crash_in_setup():
    """Dies before the test."""
    os._exit(3)


@pytest.fixture
def crash_in_teardown():
    """Dies after the test."""
    yield
    os._exit(4)


@pytest.fixture
def left_thread():
    """A thread that nobody joins."""
    thread = threading.Thread(target=threading.Event().wait)
    thread.start()
    return thread


@pytest.fixture
def custom_warning():
    """A warning whose class wants two arguments."""

    class Odd(UserWarning):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    warnings.warn(Odd("bread", "butter"))
