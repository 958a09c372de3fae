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
from pathlib import Path

import pytest

from tests.cpython.runner import MIXINS, MODULES

ROOT = Path(__file__).parents[2]

PRIVATE = "looks at private attributes of ProcessPoolExecutor, which a pool without queues has not"
ALONE = "a broken task breaks only its own future here; the standard pool breaks as a whole"

DEVIATIONS: dict[str, dict[str, str]] = {
    "test_future": {},
    "test_wait": {},
    "test_as_completed": {},
    "test_init": {},
    "test_process_pool": {},
    "test_shutdown": {},
    "test_deadlock": {
        "ExecutorDeadlockTest.test_error_at_task_unpickle": ALONE,
        "ExecutorDeadlockTest.test_exit_at_task_unpickle": ALONE,
        "ExecutorDeadlockTest.test_error_during_result_unpickle_in_result_handler": ALONE,
        "ExecutorDeadlockTest.test_exit_during_result_unpickle_in_result_handler": ALONE,
        "ExecutorDeadlockTest.test_shutdown_deadlock_pickle": PRIVATE,
    },
}

needs_the_standard_tests = pytest.mark.skipif(
    sys.version_info[:2] != (3, 13)
    or importlib.util.find_spec("test.test_concurrent_futures") is None,
    reason="needs CPython 3.13 with its test package (test.test_concurrent_futures) installed",
)


def cases() -> list[tuple[str, str]]:
    """Every module with every start method."""
    contextless = {"test_future": ["none"]}
    return [
        (module, context) for module in MODULES for context in contextless.get(module, [*MIXINS])
    ]


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
    assert failed == set(DEVIATIONS[module]), ran.stderr
