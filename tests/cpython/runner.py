"""Run one module of the interpreter's own concurrent.futures tests against Procession.

    python -m tests.cpython.runner MODULE CONTEXT

The interpreter's test package is used where it is installed; nothing of it is copied. Its modules
are imported with `concurrent.futures.Future` swapped for `procession.Future`, and see a
`concurrent.futures` whose `ProcessPoolExecutor` is `procession.Pool`. Only the classes of one start
method run ("none": those that need no executor). Prints one JSON object: what became of each test.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures._base
import concurrent.futures.process
import concurrent.futures.thread
import faulthandler
import functools
import importlib
import json
import os
import re
import signal
import sys
import types
import unittest
from typing import Any

import procession

PACKAGE = "test.test_concurrent_futures"
MODULES = (
    "test_future",
    "test_wait",
    "test_as_completed",
    "test_init",
    "test_process_pool",
    "test_shutdown",
    "test_deadlock",
)
PATIENCE = 60
"""Seconds one test may take before it is a failure that shows its stacks."""

MIXINS = {
    "fork": "ProcessPoolForkMixin",
    "forkserver": "ProcessPoolForkserverMixin",
    "spawn": "ProcessPoolSpawnMixin",
}


def load(name: str) -> types.ModuleType:
    """Import one of the interpreter's test modules so that it tests Procession."""
    base: Any = concurrent.futures._base
    original = base.Future
    base.Future = procession.Future
    try:
        util = importlib.import_module(f"{PACKAGE}.util")
        module = importlib.import_module(f"{PACKAGE}.{name}")
    finally:
        base.Future = original
    for mixin in MIXINS.values():
        getattr(util, mixin).executor_type = procession.Pool
    swapped: Any = module
    swapped.futures = _swapped_namespace()
    if hasattr(module, "assert_python_ok"):
        swapped.assert_python_ok = _with_our_import(swapped.assert_python_ok)
    return module


def _swapped_namespace() -> types.ModuleType:
    """A copy of `concurrent.futures` in which Procession's names stand for the standard ones."""
    namespace = types.ModuleType("concurrent.futures")
    for name in (*concurrent.futures.__all__, "_base", "process", "thread"):
        setattr(namespace, name, getattr(concurrent.futures, name))
    namespace.__dict__["Future"] = procession.Future
    namespace.__dict__["ProcessPoolExecutor"] = procession.Pool
    return namespace


def _with_our_import(run: Any) -> Any:
    """Scripts that the tests run in a fresh interpreter import the executor from us, too."""

    @functools.wraps(run)
    def wrapper(*args: str, **environment: Any) -> Any:
        ours = procession.Pool.__name__
        arguments = [
            argument.replace(
                f"from concurrent.futures import {ours}", f"from procession import {ours}"
            )
            for argument in args
        ]
        path = os.pathsep.join(entry for entry in sys.path if entry)
        return run(*arguments, __isolated=False, PYTHONPATH=path, **environment)

    return wrapper


class Result(unittest.TextTestResult):
    """Remembers what became of every test."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes: dict[str, str] = {}

    def startTest(self, test: unittest.TestCase) -> None:
        """A test is taken to have passed until something else is said."""
        super().startTest(test)
        self.outcomes[_name(test)] = "passed"
        signal.alarm(PATIENCE)

    def stopTest(self, test: unittest.TestCase) -> None:
        """The test is over."""
        signal.alarm(0)
        super().stopTest(test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """The test says that it does not apply here."""
        super().addSkip(test, reason)
        self.outcomes[_name(test)] = "skipped"

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        """An assertion did not hold."""
        super().addFailure(test, err)
        self.outcomes[_name(test)] = "failed"

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        """Something was raised that the test did not expect."""
        super().addError(test, err)
        self.outcomes[_name(test)] = "failed"

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        """A part of a test is over."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.outcomes[_name(test)] = "failed"


def _name(test: unittest.TestCase) -> str:
    """Class and method, without the start method that is part of the class's name."""
    return re.sub(r"^.*\.(?:ProcessPool(?:Forkserver|Fork|Spawn))?(\w+\.\w+)$", r"\1", test.id())


def suite_of(module: types.ModuleType, context: str) -> unittest.TestSuite:
    """The module's tests for one start method, or those that need no executor."""
    suite = unittest.TestSuite()
    for value in list(vars(module).values()):
        if not (isinstance(value, type) and issubclass(value, unittest.TestCase)):
            continue
        if value.__module__ != module.__name__:
            continue
        wanted = getattr(value, "ctx", None) == context
        if context == "none":
            wanted = not hasattr(value, "executor_type")
        if wanted:
            suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(value))
    return suite


def _too_long(*_: object) -> None:
    faulthandler.dump_traceback()
    raise AssertionError(f"still running after {PATIENCE} s")


def main(name: str, context: str) -> None:
    """Run one module for one start method and print what became of its tests."""
    signal.signal(signal.SIGALRM, _too_long)
    module = load(name)
    runner = unittest.TextTestRunner(stream=sys.stderr, verbosity=2, resultclass=Result)
    result: Any = runner.run(suite_of(module, context))
    sys.stdout.flush()
    print("\n" + json.dumps(result.outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
