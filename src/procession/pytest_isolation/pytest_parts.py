"""pytest's own parts and its plugins: what crosses to a test's process, and what must not be there.

Much here reaches into pytest's own parts, of versions 8.4 to 9; kept in one place for that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, cast

import pytest
from _pytest.junitxml import xml_key

from procession.pytest_isolation.unpatched import os
from procession.system import NamedTuple

# -- what crosses, and what does not --------------------------------------------------------------

_PLAIN = (str, int, float, bool, type(None))


def plain_options(config: pytest.Config) -> dict[str, Any]:
    """The options as they are now, with what plugins have decided when pytest was configured.

    A random seed that a plugin has drawn is the same in the test's process, as it is in a worker
    of pytest-xdist. Options that are no plain values stay here.
    """
    return {name: value for name, value in vars(config.option).items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, cast("list[object]", value)))
    if type(value) is dict:
        held = cast("dict[object, object]", value)
        return all(map(_is_plain, [*held, *held.values()]))
    return type(value) in _PLAIN


class _Node:
    """Stands for one test in the XML report, in the test's process."""

    def __init__(self, tell: Callable[..., None], nodeid: str) -> None:
        self._tell, self._nodeid = tell, nodeid

    def add_attribute(self, name: str, value: object) -> None:
        """As the report's own."""
        self._tell("attribute", self._nodeid, str(name), str(value))


class _Xml:
    """Stands for the XML report in a test's process: what fixtures add there is sent home."""

    def __init__(self, tell: Callable[..., None], family: str) -> None:
        self._tell = tell
        self.family = family

    def __bool__(self) -> bool:
        return False  # pytest would unregister a report in the end, and this is no plugin

    def node_reporter(self, nodeid: str) -> _Node:
        """What stands for a test."""
        return _Node(self._tell, nodeid)

    def add_global_property(self, name: str, value: object) -> None:
        """As the report's own."""
        self._tell("property", "", str(name), str(value))


def tell_xml(config: pytest.Config, family: str | None, tell: Callable[..., None]) -> None:
    """Have `record_xml_attribute` and `record_testsuite_property` tell pytest's own report."""
    if family is not None:
        stand_in: Any = _Xml(tell, family)
        config.stash[xml_key] = stand_in


def add_to_xml(config: pytest.Config, kind: str, nodeid: str, name: str, value: str) -> None:
    """In pytest: add to the XML report what a test has recorded in its process."""
    xml = config.stash.get(xml_key, None)
    if xml is None:
        return
    if kind == "property":
        xml.add_global_property(name, value)
    else:
        xml.node_reporter(nodeid).add_attribute(name, value)


def xml_family(config: pytest.Config) -> str | None:
    """Which kind of XML report pytest writes; `None` if it writes none."""
    xml = config.stash.get(xml_key, None)
    return None if xml is None else str(xml.family)


def own_databases(workerinput: dict[str, Any] | None) -> ModuleType:
    """A plugin that gives a test's process test databases of its own under pytest-django."""
    worker = (workerinput or {}).get("workerid")

    @pytest.fixture(scope="session")
    def django_db_modify_db_settings_xdist_suffix() -> None:
        """In place of pytest-django's own, which keeps workers of pytest-xdist apart."""
        from importlib import import_module

        fixtures: Any = import_module("pytest_django.fixtures")
        suffix = f"{worker}_isolated" if worker else "isolated"
        fixtures._set_suffix_to_test_databases(suffix=suffix)

    plugin = ModuleType("procession-own-databases")
    vars(plugin)["django_db_modify_db_settings_xdist_suffix"] = (
        django_db_modify_db_settings_xdist_suffix
    )
    return plugin


def not_carried(item: pytest.Item) -> list[str]:
    """What plugins record in a test's process and never learn here, in words."""
    option = item.config.option
    found: list[str] = []
    if getattr(option, "allure_report_dir", None):
        found.append("allure's steps, attachments and status (--alluredir)")
    if "benchmark" in getattr(item, "fixturenames", ()):
        found.append("the figures of pytest-benchmark's fixture 'benchmark'")
    if getattr(option, "cucumber_json_path", None):
        found.append("pytest-bdd's steps (--cucumberjson)")
    return found


class Measuring(NamedTuple):
    """How a test's process is to measure coverage.

    Attributes:
        arguments: For `coverage.Coverage`, or `None` if nothing is to be measured.
        options: More of pytest's command line.
        contexts: Whether each test's phases are told apart (``--cov-context=test``).
    """

    arguments: dict[str, Any] | None = None
    options: tuple[str, ...] = ()
    contexts: bool = False


def running_coverage() -> Any:
    """What measures coverage in this process, or `None`."""
    coverage: Any = sys.modules.get("coverage")
    return coverage.Coverage.current() if coverage is not None else None


def measuring(config: pytest.Config) -> Measuring:
    """Find out whether coverage is measured here, and how.

    pytest-cov itself stays out of the test's process: there it would erase the data files of the
    others, and report. The process writes a data file of its own next to them, which pytest-cov
    takes in at the end.
    """
    plugin: Any = config.pluginmanager.getplugin("_cov")
    options = ("--no-cov",) if hasattr(config.option, "no_cov") else ()
    controller = getattr(plugin, "cov_controller", None)
    if controller is not None and controller.cov is not None and not plugin._disabled:
        settings, folder, file = controller.cov.config, controller.topdir, controller.cov_config
        contexts = plugin.options.cov_context == "test"
    else:
        current = running_coverage()
        if current is None or not current.config.parallel:
            return Measuring(None, options)
        settings, folder, contexts = current.config, os.getcwd(), False
        file = settings.config_file or False
    arguments: dict[str, Any] = {
        "source": settings.source,
        "branch": settings.branch,
        "config_file": file,
        "data_file": os.path.join(folder, settings.data_file),
        "data_suffix": True,
    }
    return Measuring(arguments, options, contexts)


# -- what the pytest in a test's process leaves to the other ---------------------------------------

_OFF: dict[str, Any] = {
    # Which tests run, and how many at a time.
    "numprocesses": None,
    "maxprocesses": None,
    "dist": "no",
    "tx": [],
    "distload": False,
    "looponfail": False,
    "lf": False,
    "failedfirst": False,
    "newfirst": False,
    "stepwise": False,
    "stepwise_skip": False,
    "cacheclear": False,
    "cacheshow": None,
    "collectonly": False,
    "pyargs": False,
    # What is written at the end.
    "xmlpath": None,
    "durations": None,
    "pastebin": None,
    "report_log": None,
    "htmlpath": None,
    "json_report": False,
    "allure_report_dir": None,
    # Debuggers.
    "usepdb": False,
    "trace": False,
}
"""Options of pytest and its plugins that concern the whole run, and what turns them off."""


_kept: list[object] = []
"""What was replaced; in a fork its collection would warn of a file left open, or close it."""


def forget_what_the_other_does(config: pytest.Config) -> None:
    """Take back options that concern the whole run."""
    for name, value in _OFF.items():
        if hasattr(config.option, name):
            setattr(config.option, name, value)
    if getattr(config.option, "log_file_mode", None) is None:
        config.option.log_file_mode = "a"


def silence_terminal(config: pytest.Config, fd: int) -> None:
    """Send what the terminal reporter prints to `fd`.

    Some of it matters if the test dies: pytest-timeout prints the stacks there.
    """
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    writer = getattr(reporter, "_tw", None)
    if writer is not None:
        _kept.append(writer._file)
        writer._file = os.fdopen(os.dup(fd), "w", 1, encoding="utf-8", errors="replace")


def mute_terminal(config: pytest.Config) -> None:
    """Drop what the terminal reporter prints from now on."""
    with open(os.devnull, "wb") as nothing:
        silence_terminal(config, nothing.fileno())


def write_captured_to(config: pytest.Config, out: int, err: int) -> None:
    """Let the captured output go through these files, where it outlives this process."""
    manager: Any = config.pluginmanager.getplugin("capturemanager")
    capturing = getattr(manager, "_global_capturing", None)
    for name, fd in (("out", out), ("err", err)):
        stream: Any = getattr(capturing, name, None)
        if stream is None or not hasattr(stream, "tmpfile"):
            continue
        if not hasattr(stream, "targetfd_save"):
            _copy(stream, fd)
            continue
        own = stream.tmpfile.fileno()
        os.write(fd, os.pread(own, os.fstat(own).st_size, 0))
        os.dup2(fd, own, inheritable=False)
        if stream._state == "started":
            os.dup2(fd, stream.targetfd)


def _copy(stream: Any, fd: int) -> None:
    """Copy to `fd` what is captured in memory, until it is taken for a report."""
    write, snap, put, cut = stream.tmpfile.write, stream.snap, os.write, os.ftruncate

    def write_both(text: str) -> int:
        put(fd, text.encode("utf-8", "replace"))
        return int(write(text))

    def snap_both() -> Any:
        cut(fd, 0)
        return snap()

    stream.tmpfile.write, stream.snap = write_both, snap_both


def report_nowhere_else(config: pytest.Config, keep: tuple[object, ...]) -> None:
    """Leave reports and warnings to `keep` alone: every other plugin hears them from pytest."""
    for name in (
        "pytest_runtest_logstart",
        "pytest_runtest_logreport",
        "pytest_runtest_logfinish",
        "pytest_warning_recorded",
    ):
        caller: Any = getattr(config.hook, name)
        for implementation in caller.get_hookimpls():
            if not any(implementation.plugin is one for one in keep):
                caller._remove_plugin(implementation.plugin)


def leave_fixtures_of_the_other(session: pytest.Session) -> None:
    """In a fork: use the fixtures that are set up, and never tear them down."""
    state: Any = session._setupstate
    for node, (_, failure) in list(state.stack.items()):
        state.stack[node] = ([], failure)
    for definition in _fixtures(session):
        definition._finalizers.clear()


def _fixtures(session: pytest.Session) -> Iterator[Any]:
    """Every fixture's definition: by name, from pytest 9 on then by node."""
    manager: Any = session._fixturemanager
    for name in ("_arg2fixturedefs", "_arg2node2fixturedefs"):
        for found in getattr(manager, name, {}).values():
            groups: Iterable[Any] = found.values() if hasattr(found, "values") else [found]
            for definitions in groups:
                yield from definitions
