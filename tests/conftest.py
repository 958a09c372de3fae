"""What holds for every test: a private temporary folder, and nothing left behind."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.leaks import PATIENCE, Held, Snapshot, describe, left_behind, orphans, snapshot

if TYPE_CHECKING:
    from tests.support.dealing import FileScheduling

with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # Another module's tests may hold up the making of examples.
    settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow], deadline=None)
    settings.load_profile("busy")

# OpenBLAS's threads ask for work for a tenth of a second before they sleep. A cap on threads starts
# them in each forked worker. This is 2 to the power of 4 ticks instead of 26.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

MARKER = "RUN_OF_PROCESSION_TESTS"
PRIVATE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Give this run a temporary folder of its own, so that what is left in it is ours.

    And Ctrl-C its meaning: what a shell starts in the background ignores it, as do its children.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    original = tempfile.gettempdir()
    private = tempfile.mkdtemp(prefix="procession-tests-")
    config.stash[PRIVATE] = private
    # At the very end: multiprocessing removes its own folder in there when the interpreter exits.
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", original)
    os.environ["TMPDIR"] = private
    os.environ[MARKER] = private
    tempfile.tempdir = None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Go back to the system's temporary folder."""
    private = config.stash.get(PRIVATE, None)
    if private is not None:
        os.environ["TMPDIR"] = os.path.dirname(private)
        tempfile.tempdir = None


LONGEST = (
    "tests/pytest_plugin/test_battery.py",
    "tests/cpython/test_concurrent_futures.py",
    "tests/pytest_plugin/test_options.py",
    "tests/joblib_door/test_joblibs_own.py",
    "tests/conformance/test_scripts.py",
    "tests/conformance/test_finalizers.py",
    "tests/test_typing.py",
    "tests/worlds/test_at_import.py",
    "tests/worlds/test_patched.py",
    "tests/worlds/test_other_systems.py",
    "tests/pytest_plugin/test_as_if_here.py",
    "tests/test_examples.py",
    "tests/chaos/test_hostile_tasks.py",
    "tests/process/pool/test_shutdown.py",
    "tests/conformance/test_deadline.py",
    "tests/process/pool/test_what_counts.py",
    "tests/worlds/test_coverage.py",
    "tests/worlds/test_strict.py",
    "tests/backends/test_stats.py",
    "tests/conformance/test_retry_delay.py",
    "tests/backends/test_library_settings.py",
    "tests/libraries/test_services.py",
    "tests/libraries/test_executors.py",
    "tests/test_page_code.py",
)
"""Files of few tests that take long, the longest first. Under xdist they begin, and all others
follow by their number of tests. So no processor is left with a long file at the end."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FileScheduling | None:
    """Deal files out in a way that outlives a test which ends its process, as a time limit does."""
    if config.option.dist != "loadfile":
        return None
    from tests.support.dealing import FileScheduling

    return FileScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, where files are dealt out to several processes."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        files = [item.nodeid.partition("::")[0] for item in items]
        counts = Counter(files)
        late = len(LONGEST)
        ranks = {
            name: (LONGEST.index(name) if name in LONGEST else late, -counts[name], name)
            for name in counts
        }
        items.sort(key=lambda item: ranks[item.nodeid.partition("::")[0]])


_frozen = 0


def pytest_collection_finish() -> None:
    """Take what all modules have imported out of the collector's sight: it strikes in many tests.

    It takes a tenth of a second to look through pandas, scikit-learn and their like each time.
    """
    global _frozen
    gc.collect()
    gc.freeze()
    _frozen = len(sys.modules)


@pytest.fixture(scope="session")
def first_seen() -> dict[Held, str]:
    """Everything that was new after some test, and the test that first showed it."""
    return {}


@pytest.fixture(autouse=True)
def _stacks_at_its_own_time(request: pytest.FixtureRequest) -> None:
    """A test with a longer time limit shows no stacks before that: it does not hang.

    At its limit pytest-timeout writes them.
    """
    config = request.config
    marker = request.node.get_closest_marker("timeout")
    limit = marker.args[0] if marker is not None and marker.args else config.getoption("timeout")
    if limit and float(limit) > float(config.getini("timeout") or 0):
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True, scope="session")
def _no_orphans() -> Iterator[None]:
    """At the end of the run no process is left that some child of a test started."""
    yield
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # a neighbour's programs still run
    deadline = time.monotonic() + PATIENCE
    while left := orphans(f"{MARKER}={os.environ[MARKER]}"):
        if time.monotonic() > deadline:
            pytest.fail("outlived their parents:\n  " + "\n  ".join(left), pytrace=False)
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _remember_what_is_new(
    request: pytest.FixtureRequest,
    first_seen: dict[Held, str],
    _nothing_left_behind: list[Snapshot],
) -> Iterator[None]:
    yield
    # One look a test, not two: what came between two tests counts as the second one's.
    now = snapshot()
    for thing in now - _nothing_left_behind[-1]:
        first_seen.setdefault(thing, request.node.nodeid)
    _nothing_left_behind[-1] = now


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_behind(
    request: pytest.FixtureRequest, first_seen: dict[Held, str]
) -> Iterator[list[Snapshot]]:
    """After each module's pools were shut down, nothing it made may still be there.

    Gives a list of the latest snapshot.
    """
    before = snapshot()
    yield [before]
    _shut_down()
    leaked = left_behind(before)
    if leaked:
        lines = [
            f"  {describe(thing)}, first seen after {first_seen.get(thing, 'the shutdown itself')}"
            for thing in sorted(leaked)
        ]
        pytest.fail("left behind by this module:\n" + "\n".join(lines), pytrace=False)
    if len(sys.modules) > _frozen + 200:  # it has imported a large library
        pytest_collection_finish()


@pytest.fixture
def pools_end() -> Iterator[None]:
    """The pools end after each test, not only after each module."""
    yield
    _shut_down()


def _shut_down() -> None:
    """End the pools that are kept warm between tests, if the library was used at all."""
    if "procession" in sys.modules:
        import procession

        procession.shutdown()
