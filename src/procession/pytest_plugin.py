"""The pytest plugin: tests in processes of their own, and switches for code that uses Procession.

Loaded by every pytest run of an environment that has Procession, so it imports nothing that
pytest has not loaded already. What runs isolated tests is in `procession.pytest_isolation`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from procession.pytest_isolation.unpatched import IN_CHILD  # loaded before any test patches it

if TYPE_CHECKING:
    from procession.pytest_isolation.marker import Isolation
    from procession.pytest_isolation.protocol import Outer

_MARKER = pytest.StashKey[str]()
_ISOLATION: pytest.StashKey[Isolation] = pytest.StashKey()
_TIMER = pytest.StashKey[float]()
_OUTER: pytest.StashKey[Outer] = pytest.StashKey()
_SETTINGS = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini settings."""
    group = parser.getgroup("procession", "functions and tests in other processes (procession)")
    group.addoption(
        "--procession-backend",
        metavar="NAME",
        help="run every decorated function on this backend, not on that of the code; "
        "'serial' runs them here",
    )
    group.addoption(
        "--procession-workers",
        metavar="N",
        help="number of workers in every pool, in place of what the code says",
    )
    group.addoption(
        "--procession-strict",
        action="store_true",
        help="pickle arguments and results of decorated functions even where they run here",
    )
    group.addoption(
        "--procession-isolation",
        choices=("on", "off"),
        default="on",
        help="'off' runs isolated tests in pytest's own process, for example under --pdb",
    )
    parser.addini(
        "procession_marker",
        "name of the marker that isolates a test (default: isolated)",
        default="isolated",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """In an isolated test's process, take over before any plugin has set itself up."""
    bootstrap: Any = sys.modules["__main__"]
    payload = getattr(bootstrap, "procession_payload", None)
    if payload is not None:
        bootstrap.procession_payload = None  # A pytest that a test runs in there is not meant.
        from procession.pytest_isolation.inner import adopt

        adopt(config, payload)
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and put the command line's settings in force."""
    marker = str(config.getini("procession_marker")).strip()
    if not marker.isidentifier():
        raise pytest.UsageError(
            f"procession_marker = {marker!r} is no marker's name. Write one word, "
            "such as procession_marker = in_own_process."
        )
    if marker == "isolated" and _has_pytest_isolated(config):
        raise pytest.UsageError(
            "both procession and pytest-isolated take the marker 'isolated'. Write "
            "procession_marker = in_own_process (or another name) in pytest's configuration to "
            "rename procession's, or uninstall pytest-isolated, or run with -p no:procession."
        )
    config.stash[_MARKER] = marker
    config.addinivalue_line(
        "markers",
        f"{marker}(timeout=None, memory_limit=None, context='spawn', group=None): run the test in "
        "a process of its own, so that a crash, exit, hang or leak fails this test alone. "
        "timeout: seconds, with its fixtures. memory_limit: private memory of the process, in "
        "bytes or as '512MB'. context: 'spawn', a fresh interpreter, or 'fork', a copy of "
        "pytest's process (fast; fixtures already set up are there). group: 'class' or 'module' "
        "shares one process between the tests of one. (procession)",
    )
    config.stash[_SETTINGS] = ExitStack()
    if _given(config):
        from procession.errors import OptionError
        from procession.testing import command_line

        try:
            config.stash[_SETTINGS].enter_context(command_line(**_given(config)))
        except OptionError as error:
            raise pytest.UsageError(str(error)) from None


def _has_pytest_isolated(config: pytest.Config) -> bool:
    return any(
        (getattr(plugin, "__name__", None) or "").startswith("pytest_isolated")
        for plugin in config.pluginmanager.get_plugins()
    )


def _given(config: pytest.Config) -> dict[str, Any]:
    """What the command line sets, by option."""
    backend = config.getoption("procession_backend")
    workers = config.getoption("procession_workers")
    strict = config.getoption("procession_strict")
    given = {"backend": backend, "workers": workers, "strict": strict or None}
    return {name: value for name, value in given.items() if value is not None}


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what is left, and take the settings back."""
    if _OUTER in config.stash:
        config.stash[_OUTER].end()
    if _SETTINGS in config.stash:
        config.stash[_SETTINGS].close()


def pytest_report_header(config: pytest.Config) -> str:
    """Print the settings in force."""
    given = _given(config)
    backend = given.get("backend") or os.environ.get("PROCESSION_BACKEND") or "as in the code"
    workers = given.get("workers") or os.environ.get("PROCESSION_WORKERS") or "as in the code"
    strict = "on" if "strict" in given else "off"
    isolation = config.getoption("procession_isolation")
    return (
        f"procession: backend: {backend}, workers: {workers}, strict: {strict}, "
        f"isolation: {isolation}, marker: {config.stash[_MARKER]}"
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the marker on every test that is to run, before the first one does."""
    config = session.config
    if config.stash.get(IN_CHILD, False) or hasattr(config, "workerinput"):
        return  # A worker of xdist cannot refuse as a whole: the test itself does, in its setup.
    isolated = [item for item in session.items if _isolation(item) is not None]
    debugger = next((name for name in ("usepdb", "trace") if config.getoption(name, False)), None)
    if isolated and debugger and config.getoption("procession_isolation") == "on":
        option = {"usepdb": "--pdb", "trace": "--trace"}[debugger]
        raise pytest.UsageError(
            f"{option} cannot reach into the process of an isolated test "
            f"({isolated[0].nodeid}). Add --procession-isolation=off to run isolated tests in "
            "pytest's own process."
        )


def _isolation(item: pytest.Item) -> Isolation | None:
    """How an item is isolated; `None` if it is not marked."""
    found = item.stash.get(_ISOLATION, None)
    if found is None:
        marker = item.config.stash[_MARKER]
        if item.get_closest_marker(marker) is None:
            return None
        from procession.pytest_isolation.marker import isolation_of, refuse_here

        if item.config.getoption("procession_isolation") == "on":
            refuse_here(item, marker)
        found = item.stash[_ISOLATION] = isolation_of(item, marker)
    return found


def _in_other_process(item: pytest.Item) -> bool:
    """Whether the item is to run in another process than this one."""
    config = item.config
    if config.stash.get(IN_CHILD, False) or config.getoption("procession_isolation") == "off":
        return False
    try:
        return _isolation(item) is not None
    except pytest.UsageError:
        return False  # Refused in its setup.


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a wrong marker where nothing has refused it before."""
    if item.config.stash.get(IN_CHILD, False):
        return
    try:
        _isolation(item)
    except pytest.UsageError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run an isolated test in its process; leave every other test to pytest."""
    if not _in_other_process(item):
        return None
    from procession.pytest_isolation.protocol import Outer, is_skipped

    if is_skipped(item):
        return None
    config = item.config
    if _OUTER not in config.stash:
        config.stash[_OUTER] = Outer(config)
    isolation = _isolation(item)
    assert isolation is not None
    successor = _next_that_runs(nextitem, is_skipped) if isolation.group is not None else None
    following = _isolation(successor) if successor is not None else None
    config.stash[_OUTER].run(item, isolation, nextitem, following, item.stash.get(_TIMER, None))
    return True


def _next_that_runs(
    nextitem: pytest.Item | None, is_skipped: Callable[[pytest.Item], bool]
) -> pytest.Item | None:
    """The next test that is run at all, if it is isolated: tests that are skipped end no group.

    A worker of pytest-xdist may be given another one; then the group's process ends without it.
    """
    if nextitem is None:
        return None
    items = nextitem.session.items
    for item in islice(items, items.index(nextitem), None):
        if not _in_other_process(item):
            return None
        if not is_skipped(item):
            return item
    return None


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """Leave pytest-timeout's timer to the test's own process, which has pytest-timeout as well."""
    if not _in_other_process(item):
        return None
    item.stash[_TIMER] = settings.timeout
    return True


@pytest.fixture
def procession_inline() -> Iterator[None]:
    """Run every decorated function in this process (see `procession.testing.inline`)."""
    from procession.testing import inline

    with inline():
        yield


@pytest.fixture
def procession_strict() -> Iterator[None]:
    """Pickle what inline calls take and give (see `procession.testing.strict`)."""
    from procession.testing import strict

    with strict():
        yield
