"""CPython 3.13's own test_concurrent_futures passes against `procession.Future` and `Pool`.

Where ours differs the test is listed here with the reason, and both an unexpected failure and an
unexpected pass are errors.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.cpython.runner import MIXINS, MODULES
from tests.support.project import ROOT

PRIVATE = "looks at private attributes of ProcessPoolExecutor, which our pool has not"
ALONE = "a broken task breaks only its own future here; the standard pool breaks as a whole"

DEVIATIONS: dict[str, dict[str, str]] = {
    "test_future": {},
    "test_wait": {},
    "test_as_completed": {},
    "test_init": {},
    "test_process_pool": {
        "ProcessPoolExecutorTest.test_idle_process_reuse_multiple": PRIVATE,
        "ProcessPoolExecutorTest.test_idle_process_reuse_one": PRIVATE,
        "ProcessPoolExecutorTest.test_killed_child": PRIVATE,
        "ProcessPoolExecutorTest.test_max_tasks_per_child": PRIVATE
        + "; under fork it wants max_tasks_per_child refused, which works here",
        "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": PRIVATE,
        "ProcessPoolExecutorTest.test_python_finalization_error": "breaks the second thread that "
        "the standard pool starts, so that it breaks; our pool starts no second thread",
        "ProcessPoolExecutorTest.test_saturation": PRIVATE,
        "ProcessPoolExecutorTest.test_traceback": "wants the remote traceback as a cause of the "
        "private class _RemoteTraceback; here it is the error's own traceback",
    },
    "test_shutdown": {
        "ProcessPoolShutdownTest.test_context_manager_shutdown": PRIVATE,
        "ProcessPoolShutdownTest.test_del_shutdown": PRIVATE,
        "ProcessPoolShutdownTest.test_processes_terminate": PRIVATE,
        "ProcessPoolShutdownTest.test_shutdown_no_wait": PRIVATE,
        "ProcessPoolShutdownTest.test_submit_after_interpreter_shutdown": "wants the text of a "
        "plain RuntimeError; ours is a PoolClosed, which is a RuntimeError with a text of its own",
    },
    "test_deadlock": {
        "ExecutorDeadlockTest.test_error_at_task_unpickle": ALONE,
        "ExecutorDeadlockTest.test_exit_at_task_unpickle": ALONE,
        "ExecutorDeadlockTest.test_error_during_result_unpickle_in_result_handler": ALONE,
        "ExecutorDeadlockTest.test_exit_during_result_unpickle_in_result_handler": ALONE,
        "ExecutorDeadlockTest.test_shutdown_deadlock_pickle": PRIVATE,
    },
}
"""Tests that must fail, by module, with the reason."""

UNDECIDED = {
    "ProcessPoolShutdownTest.test_cancel_futures": "wants at least one call to have started: with "
    "slow starts none has, and all are cancelled",
}
"""Tests whose outcome depends on the machine's speed, with the reason."""

needs_the_standard_tests = pytest.mark.skipif(
    sys.version_info[:2] != (3, 13)
    or importlib.util.find_spec("test.test_concurrent_futures") is None,
    reason="needs CPython 3.13 with its test package (test.test_concurrent_futures) installed",
)


def cases() -> list[Any]:
    """Every module with every start method; all but one method are left to the soak."""
    found = [pytest.param("test_future", "none")]
    for module in MODULES[1:]:
        for context in MIXINS:
            marks = [] if context == "forkserver" else [pytest.mark.soak]
            found.append(pytest.param(module, context, marks=marks))
    return found


@needs_the_standard_tests
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("module", "context"), cases())
def test_the_standard_library_s_own_tests(module: str, context: str) -> None:
    """Exactly the listed tests fail; all others pass, or say themselves that they do not apply."""
    command = [sys.executable, "-m", "tests.cpython.runner", module, context]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=580, check=False
    )
    assert ran.returncode == 0, ran.stderr
    outcomes: dict[str, str] = json.loads(ran.stdout.splitlines()[-1])
    assert outcomes, "no test was found"
    failed = {name for name, outcome in outcomes.items() if outcome == "failed"}
    assert failed - set(UNDECIDED) == set(DEVIATIONS[module]), ran.stderr
