"""The test's side: a pytest that runs what it is told, and tells each phase as it ends."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from procession.pytest_isolation.bootstrap import tie_to
from procession.pytest_isolation.pytest_parts import (
    forget_what_the_other_does,
    leave_fixtures_of_the_other,
    mute_terminal,
    own_databases,
    report_nowhere_else,
    running_coverage,
    silence_terminal,
    tell_xml,
    write_captured_to,
)
from procession.pytest_isolation.reports import add_failed_subtests
from procession.pytest_isolation.shared_files import Writer
from procession.pytest_isolation.unpatched import IN_CHILD, json, os, signal
from procession.system.pristine import time

STACK_SIGNAL: int = getattr(signal, "SIGRTMAX", 34) - 3
"""Sent before a test is killed: faulthandler answers with its stacks, even under a held GIL."""

_NO_TERMINAL = (
    "a debugger needs a terminal, and an isolated test's process has none. "
    "Run with --procession-isolation=off to debug it in pytest's own process."
)


class Inner:
    """A plugin of the test's process, with what pytest sent along."""

    def __init__(self, config: pytest.Config, payload: dict[str, Any]) -> None:
        self._config = config
        self._writer = Writer(payload)
        self._payload = payload
        self._collect_errors: list[str] = []
        self._running: str | None = None
        config.stash[IN_CHILD] = True

    # Life of the session.

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Send what pytest says to itself into files, once all plugins have set themselves up."""
        self.attach()
        for name in ("lfplugin", "nfplugin", "stepwiseplugin"):
            if config.pluginmanager.hasplugin(name):
                # They write what they saw to the cache, and here they have seen one test.
                config.pluginmanager.unregister(name=name)

    def attach(self) -> None:
        """Connect output, stacks and reports of this process to pytest's files."""
        payload = self._payload
        silence_terminal(self._config, payload["log"])
        write_captured_to(self._config, payload["out"], payload["err"])
        tell_xml(self._config, payload["xml"], partial(self._writer.send, "xml"))
        if self._config.pluginmanager.hasplugin("faulthandler"):
            faulthandler.enable(payload["stack"])
        if hasattr(faulthandler, "register"):
            faulthandler.register(STACK_SIGNAL, payload["stack"], all_threads=True)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be collected here."""
        if report.failed:
            self._collect_errors.append(f"{report.nodeid}\n{report.longreprtext}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests that pytest asks for, in its order, until it asks no more."""
        self.loop(session)
        mute_terminal(self._config)  # It sums up a run that pytest's own terminal sums up.
        return True

    def loop(self, session: pytest.Session) -> None:
        """Take requests and run them."""
        logging: Any = self._config.pluginmanager.getplugin("logging-plugin")
        report_nowhere_else(self._config, keep=(self, session, logging))
        items = {item.nodeid: item for item in session.items}
        for request in self._requests():
            item = items.get(request["run"])
            if item is None:
                self._writer.send("missing", request["run"], "\n".join(self._collect_errors))
                return
            if not self._run(item, items.get(request["next"])):
                return

    def _requests(self) -> Iterator[dict[str, Any]]:
        with open(self._payload["commands"], encoding="utf-8") as commands:
            for line in commands:
                yield json.loads(line)

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run one test; returns whether this process can run another one."""
        self._running = item.nodeid
        self._writer.send("began", item.nodeid)
        clean = False
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            clean = True
        except pytest.exit.Exception as stop:
            self._writer.send("exit", item.nodeid, str(stop.msg), stop.returncode)
        except BaseException:
            error = pytest.ExceptionInfo.from_current()
            text = str(item.repr_failure(error))
            self._writer.send("interrupted", item.nodeid, error.typename, text)
        if not self._writer.ours:
            os._exit(0)  # The test forked, and its child came back here.
        self._writer.send("finished", item.nodeid)
        return clean

    # What is told.

    def _phase(self, item: pytest.Item, when: str) -> None:
        measured = self._payload.get("measured")
        if measured is not None and self._payload["contexts"]:
            measured.switch_context(f"{item.nodeid}|{when}")
        self._writer.send("phase", item.nodeid, when, time.time(), time.monotonic())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Tell that the setup begins."""
        self._phase(item, "setup")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Tell that the test itself begins."""
        self._phase(item, "call")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Tell that the teardown begins."""
        self._phase(item, "teardown")

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Send a report home."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        data = plain(data)
        add_failed_subtests(self._config, report, data)
        self._writer.send("report", report.nodeid, data)

    @pytest.hookimpl
    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str) -> None:
        """Send home what was warned of while a test ran; pytest has seen the others itself."""
        if when == "runtest" and nodeid == self._running:  # a fork also hears all earlier ones
            category = warning_message.category
            self._writer.send(
                "warning",
                nodeid,
                str(warning_message.message),
                (category.__module__, category.__qualname__),
                warning_message.filename,
                warning_message.lineno,
                warning_message.line,
            )

    @pytest.hookimpl
    def pytest_internalerror(self, excrepr: object) -> None:
        """Send home what went wrong in pytest itself, or in a plugin."""
        self._writer.send("internal", str(excrepr))

    @pytest.hookimpl
    def pytest_enter_pdb(self) -> None:
        """Fail the test that asks for a debugger, rather than read from a terminal not there."""
        pytest.fail(_NO_TERMINAL, pytrace=False)


def plain(value: Any) -> Any:
    """Reduce what a report holds to what any process can read; the rest becomes its text."""
    held: Any = value
    if value is None or type(value) in (str, int, float, bool, bytes):
        return held
    if type(value) in (list, tuple):
        return held.__class__(map(plain, held))
    if isinstance(value, dict):
        return {plain(name): plain(one) for name, one in held.items()}
    try:
        return str(held)
    except Exception:
        return f"<{type(held).__name__} whose str() fails>"


def adopt(config: pytest.Config, payload: dict[str, Any]) -> None:
    """Make this pytest the one that runs isolated tests for another."""
    vars(config.option).update(payload["options"])
    forget_what_the_other_does(config)
    config.args[:] = payload["collect"]
    config.option.basetemp = payload["basetemp"]
    if payload["workerinput"] is not None:  # pytest is a worker of xdist; so its fixtures say here
        config.workerinput = payload["workerinput"]  # type: ignore[attr-defined]
        config.workeroutput = {}  # type: ignore[attr-defined]
    if any(map(config.pluginmanager.hasplugin, ("django", "pytest_django.plugin"))):
        config.pluginmanager.register(own_databases(payload["workerinput"]))
    config.pluginmanager.register(Inner(config, payload), "procession-inner")


def run_forked(session: pytest.Session, payload: dict[str, Any]) -> None:
    """Run isolated tests in this fork of pytest, and never return."""
    code = 0
    try:
        os.setsid()
        tie_to(payload["lifeline"])
        with open(os.devnull, encoding="ascii") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(payload["raw_out"], 1)
        os.dup2(payload["raw_err"], 2)
        leave_fixtures_of_the_other(session)
        inner = Inner(session.config, payload)
        session.config.pluginmanager.register(inner, "procession-inner")  # configures it as well
        inner.loop(session)
        _save_coverage()
    except BaseException:
        import traceback

        traceback.print_exc(file=sys.__stderr__)
        code = 70
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass
        os._exit(code)


def _save_coverage() -> None:
    """Save what coverage saw since the fork, where files get a name per process."""
    current = running_coverage()
    if current is not None and getattr(current, "_data_suffix_specified", None):
        current.stop()
        current.save()
