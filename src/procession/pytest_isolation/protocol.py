"""One isolated test, as pytest sees it: reports in the right order, also if it died."""

from __future__ import annotations

import faulthandler
from contextlib import nullcontext
from typing import Any

import pytest
from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks

from procession.pytest_isolation import reports
from procession.pytest_isolation.isolated_test import TestProcess
from procession.pytest_isolation.marker import Isolation
from procession.pytest_isolation.pytest_parts import add_to_xml, not_carried
from procession.pytest_isolation.reports import Phase, replay_warning, restored_report
from procession.pytest_isolation.unpatched import os
from procession.system.pristine import time


class Outer:
    """Runs a session's isolated tests; holds the process that a group is in the middle of."""

    def __init__(self, config: pytest.Config) -> None:
        self._watchdog = config.pluginmanager.hasplugin("faulthandler") and (
            float(config.getini("faulthandler_timeout") or 0) > 0
        )
        self._number = 0
        self._process: TestProcess | None = None
        self._told: set[str] = set()

    def run(
        self,
        item: pytest.Item,
        isolation: Isolation,
        nextitem: pytest.Item | None,
        following: Isolation | None,
        timer: float | None,
    ) -> None:
        """Run one test, and send its reports to all plugins.

        `following` is how the next one is isolated; pytest-timeout gives this one `timer` seconds.
        """
        if self._watchdog:
            faulthandler.cancel_dump_traceback_later()  # The test's process has its own.
        ihook = item.ihook
        ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        shares = isolation.group is not None and following == isolation
        successor = nextitem if shares else None
        self._tell_what_stays_there(item)
        try:
            try:
                process = self._taken(item, isolation)
            except Exception as error:  # the system's, for want of files, processes or memory
                _report_not_started(item, error, nextitem)
            else:
                attempt = _Attempt(item, process)
                attempt.follow(successor, timer)
                done = not shares or attempt.over
                if done:
                    attempt.leave()
                attempt.finish(nextitem)
                if done:
                    self.close()
        except BaseException:
            self.close()  # Ctrl-C, or pytest.exit(): at once, and without a word.
            raise
        _catch_up_log_file(item.config)
        ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _taken(self, item: pytest.Item, isolation: Isolation) -> TestProcess:
        """The group's process if it lives, else a new one."""
        if self._process is not None:
            if self._process.isolation == isolation and self._process.end is None:
                return self._process
            self.end()
        self._number += 1
        self._process = TestProcess(item, isolation, _collect_argument(item), self._number)
        return self._process

    def _tell_what_stays_there(self, item: pytest.Item) -> None:
        """Warn, once a run, of what a plugin records in a test's process and never learns."""
        for what in not_carried(item):
            if what not in self._told:
                self._told.add(what)
                text = (
                    f"{what} stay in the process of an isolated test and are missing from the "
                    "results of this run. Run such tests with --procession-isolation=off, or leave "
                    "the marker off."
                )
                path, line, _ = item.location
                category = (pytest.PytestWarning.__module__, "PytestWarning")
                replay_warning(item, item.nodeid, text, category, path, (line or 0) + 1, None)

    def end(self) -> None:
        """Let the process end in order, if there is one: a group's that got no further test."""
        if self._process is not None and self._process.end is None:
            self._process.leave()
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.close()


def _catch_up_log_file(config: pytest.Config) -> None:
    """Go on in ``--log-file`` after what the test's process has written there."""
    plugin: Any = config.pluginmanager.getplugin("logging-plugin")
    stream = getattr(getattr(plugin, "log_file_handler", None), "stream", None)
    if stream is not None and stream.seekable():
        stream.seek(0, os.SEEK_END)


def _collect_argument(item: pytest.Item) -> str:
    """What the test's process collects, to find the test in it: the file it is in."""
    path = item.path
    while "[" in str(path):  # pytest reads a bracket as the beginning of a parameter
        path = path.parent
    return str(path)


class _Attempt:
    """One test in one process."""

    def __init__(self, item: pytest.Item, process: TestProcess) -> None:
        self._item = item
        self._process = process
        self._phase: Phase = "setup"
        self._start, self._since = time.time(), time.monotonic()
        self._sections: list[tuple[str, str]] = []
        self._teardown: list[pytest.TestReport] = []
        self._problem: str | None = None
        self._exit: tuple[str, int | None] | None = None
        self._finished = False
        self.over = False
        """Whether the process can run no further test."""

    def follow(self, successor: pytest.Item | None, timer: float | None) -> None:
        """Have the test run, and report each phase as it comes."""
        nodeid = self._item.nodeid
        self._process.run(nodeid, successor.nodeid if successor is not None else None, timer)
        for record in self._process.records():
            getattr(self, f"_on_{record[0]}")(*record[1:])
            if self._finished:
                break
        else:
            self.over = True
        session = self._item.session
        self.over = self.over or bool(session.shouldfail or session.shouldstop)

    # What the process tells.

    def _on_began(self, nodeid: str) -> None:
        self._start, self._since = time.time(), time.monotonic()

    def _on_phase(self, nodeid: str, when: Phase, start: float, since: float) -> None:
        self._phase, self._start, self._since = when, start, since

    def _on_report(self, nodeid: str, data: dict[str, Any]) -> None:
        report = restored_report(self._item.config, data)
        self._sections = list(report.sections)
        if report.when == "teardown":
            self._teardown.append(report)  # Held back until it is known how the process left.
        else:
            self._log(report)

    def _on_warning(self, *what: Any) -> None:
        replay_warning(self._item, *what)

    def _on_xml(self, kind: str, nodeid: str, name: str, value: str) -> None:
        add_to_xml(self._item.config, kind, nodeid, name, value)

    def _on_exit(self, nodeid: str, reason: str, returncode: int | None) -> None:
        self._exit = reason, returncode

    def _on_interrupted(self, nodeid: str, name: str, text: str) -> None:
        self.over = True
        self._problem = f"the test interrupted its own pytest by {name}.\n\n{text}"

    def _on_missing(self, nodeid: str, errors: str) -> None:
        self.over = True
        self._problem = (
            f"{nodeid} was not found when its file was collected again, in the test's own "
            "process. A test's id must not depend on the process it is collected in (a random "
            "number, an address, the order of a set)."
        )
        if errors:
            self._problem = (
                f"{nodeid} could not be collected in the test's own process.\n\n{errors}"
            )

    def _on_internal(self, text: str) -> None:
        self._problem = f"pytest failed in the test's own process.\n\n{text}"

    def _on_finished(self, nodeid: str) -> None:
        self._finished = True

    # What pytest is told.

    def _log(self, report: pytest.TestReport) -> None:
        self._item.ihook.pytest_runtest_logreport(report=report)

    def leave(self) -> None:
        """Let the process go, and take notice of a crash on its way out."""
        process = self._process
        if process.end is not None or self._problem is not None:
            return
        returncode = process.leave()
        if returncode is None:
            self._problem = "the test's process did not end by itself after the test."
        elif returncode < 0:
            name = reports.signal_name(returncode)
            self._problem = f"the test's process was killed by {name} on its way out."
            if stack := process.stack():
                self._problem += f"\n\n{stack}"

    def finish(self, nextitem: pytest.Item | None) -> None:
        """Report what is missing, and tear down here what the next test does not need."""
        if self._exit is not None:
            pytest.exit(*self._exit)
        self._report_missing()
        session = self._item.session
        if session.shouldfail or session.shouldstop:
            nextitem = None
        call = _tear_down_here(self._item, nextitem)
        for report in self._teardown:
            self._log(report)
        if not self._teardown or call.excinfo is not None:
            report = self._item.ihook.pytest_runtest_makereport(item=self._item, call=call)
            report.sections[:0] = self._sections  # A teardown's report holds all that was printed.
            self._log(report)

    def _report_missing(self) -> None:
        if self._problem is not None:
            error: BaseException = reports.TestNotRun(self._problem)
        elif not self._finished:
            end = self._process.end
            assert end is not None
            seconds = max(0.0, time.monotonic() - self._since)
            error = reports.failure(end, self._process.stack(), self._phase, seconds)
        else:
            return
        if self._teardown:  # All went well, and then it died; said in the last report's place.
            self._phase = "teardown"
            self._teardown.clear()
        self._sections.extend(self._last_output())
        report = reports.failed_report(self._item, self._phase, error, self._start, self._sections)
        if self._phase == "teardown":
            self._teardown.append(report)
        else:
            self._log(report)

    def _last_output(self) -> list[tuple[str, str]]:
        files, output = self._process.files, self._process.output
        found = [
            (f"Captured stdout {self._phase}", files.content("out") + output.unseen("raw_out")),
            (f"Captured stderr {self._phase}", files.content("err") + output.unseen("raw_err")),
            ("Terminal output of the test's process", output.unseen("log")),
        ]
        return [(name, text) for name, text in found if text.strip()]


def _tear_down_here(item: pytest.Item, nextitem: pytest.Item | None) -> pytest.CallInfo[None]:
    """Tear down fixtures that tests of this process have set up, and the next does not need."""
    state: Any = item.session._setupstate
    manager: Any = item.config.pluginmanager.getplugin("capturemanager")
    capture = nullcontext() if manager is None else manager.item_capture("teardown", item)

    def tear_down() -> None:
        with capture:
            state.teardown_exact(nextitem)

    reraise = (KeyboardInterrupt, pytest.exit.Exception)
    kind: Any = pytest.CallInfo
    call: pytest.CallInfo[None] = kind.from_call(tear_down, "teardown", reraise=reraise)
    return call


def _report_not_started(item: pytest.Item, error: Exception, nextitem: pytest.Item | None) -> None:
    """Report a test whose process could not be started: an error in its setup."""
    said = reports.TestNotRun(f"the test's process could not be started: {reports.mend(error)}")
    log = item.ihook.pytest_runtest_logreport
    log(report=reports.failed_report(item, "setup", said, time.time(), []))
    call = _tear_down_here(item, nextitem)
    log(report=item.ihook.pytest_runtest_makereport(item=item, call=call))


def is_skipped(item: pytest.Item) -> bool:
    """Whether marks keep the test from running at all: pytest says so without a process."""
    try:
        if evaluate_skip_marks(item) is not None:
            return True
        expected = evaluate_xfail_marks(item)
    except (Exception, pytest.fail.Exception):  # pytest's own is no Exception
        return False  # A condition that fails; the test's process reports it.
    return expected is not None and not expected.run and not item.config.option.runxfail
