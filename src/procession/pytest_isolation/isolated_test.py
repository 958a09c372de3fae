"""One test's process, seen from pytest: start it, hear it, watch its limits, end it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Any, Literal

import pytest

from procession.pytest_isolation import bootstrap
from procession.pytest_isolation.inner import STACK_SIGNAL, run_forked
from procession.pytest_isolation.marker import Isolation
from procession.pytest_isolation.processes import (
    descendants,
    end_group,
    end_watched,
    has_ended,
    watched,
)
from procession.pytest_isolation.pytest_parts import measuring, plain_options, xml_family
from procession.pytest_isolation.reports import End, without_machinery
from procession.pytest_isolation.shared_files import Forwarder, Reader, SharedFiles, lifeline
from procession.pytest_isolation.unpatched import (
    IMPORT_PATH,
    json,
    os,
    pickle,
    signal,
    subprocess,
)
from procession.system import cpython_processes
from procession.system.pristine import close_descriptor, select, time
from procession.system.resources import private_bytes

_LOOK = 0.02
"""Seconds between two looks at the clock, the memory and the output; the contract says 0.05."""

_STACK_WAIT = 1.0
"""Seconds a process gets to write its stacks before it is killed. It takes about 2 ms here; not
at all if it is stopped, or blocks the signal."""

_START_ALLOWANCE = 60.0
"""Seconds beyond its timeout that a test's process may take to import and collect. Not measured:
pytest itself has done the same, so this only keeps an import that hangs from hanging pytest."""

_TIMER_ALLOWANCE = 5.0
"""Seconds after which a test is killed that pytest-timeout should have ended: it cannot while C
code holds the GIL. Not measured."""

_LEAVE_ALLOWANCE = 60.0
"""Seconds a process may take to leave after its last test, with what conftest files do at a
session's end. Not measured: it only keeps an end that hangs from hanging pytest."""


class TestProcess:
    """A process that runs isolated tests, one after the other.

    Attributes:
        timeout: Seconds that the running test may take.
        output: What it prints, on its way to where pytest prints.
        end: How the process ended, or `None` while it runs.
    """

    __test__ = False

    def __init__(self, item: pytest.Item, isolation: Isolation, collect: str, number: int) -> None:
        self.isolation = isolation
        self.files = SharedFiles()
        self.end: End | None = None
        self._reader = Reader(self.files.fds["records"])
        self.output = Forwarder(item.config, self.files)
        self._began: float | None = None
        self._started = time.monotonic()
        self._peak = 0
        self.timeout: float | None = None
        try:
            payload = _payload(item.config, self.files, collect, number)
            if isolation.context == "fork":
                self.pid = self._fork(item.session, payload)
            else:
                self.pid = self._spawn(item.config, payload)
            self.files.let_go()
            self._pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None
            # A fork has its parent's memory before it has taken any.
            self._memory_at_start = private_bytes(self.pid) if isolation.context == "fork" else 0
        except BaseException:
            if hasattr(self, "pid"):
                end_group(self.pid)
            self.files.close()
            raise

    def _spawn(self, config: pytest.Config, payload: dict[str, Any]) -> int:
        fds = self.files.fds
        payload["workerinput"] = getattr(config, "workerinput", None)
        payload["options"] = plain_options(config)
        os.write(fds["payload"], pickle.dumps(payload))
        os.lseek(fds["payload"], 0, os.SEEK_SET)
        process = subprocess().Popen(
            [
                sys.executable,
                *cpython_processes.interpreter_arguments(),
                "-u",
                bootstrap.__file__,
                str(fds["payload"]),
            ],
            stdin=subprocess().DEVNULL,
            stdout=fds["raw_out"],
            stderr=fds["raw_err"],
            pass_fds=[*fds.values(), payload["lifeline"]],
            cwd=config.invocation_params.dir,
            start_new_session=True,  # with no terminal that it could stop at
        )
        process.returncode = 0  # It is waited for here, and Popen must not mind.
        return int(process.pid)

    def _fork(self, session: pytest.Session, payload: dict[str, Any]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python warns of threads; the page on context="fork" says what that means.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self.files.keep_own()
            run_forked(session, payload)
        return pid

    def run(self, nodeid: str, following: str | None, timer: float | None) -> None:
        """Ask for a test, and say which follows; pytest-timeout should end it after `timer`."""
        limits = [self.isolation.timeout, None if timer is None else timer + _TIMER_ALLOWANCE]
        self.timeout = min((limit for limit in limits if limit is not None), default=None)
        self._began = None
        self._started = time.monotonic()
        line = json.dumps({"run": nodeid, "next": following}) + "\n"
        try:
            os.write(self.files.commands, line.encode())
        except BrokenPipeError:
            pass  # It has died, which the caller is about to find.

    def records(self) -> Iterable[tuple[Any, ...]]:
        """Yield what the process tells, until it has ended or its limits have ended it."""
        while True:
            ended = self.end is not None or self._has_ended()
            exceeded = None if ended else self._exceeded()
            printed = self.output.sizes()
            for kind, printed_before, *values in self._reader.read():
                if kind == "began":
                    self._began = time.monotonic()
                    self.output.begin(printed_before)
                self.output.pass_on(printed_before)
                yield kind, *values
            self.output.pass_on(printed)
            if ended:
                self._settle("died")
                return
            if exceeded is not None:
                self._kill(exceeded)  # What it tells from now on is too late.
                return
            self._wait()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self.files.wakeup, select.POLLIN)
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        for fd, _ in poll.poll(_LOOK * 1000):
            if fd == self.files.wakeup:
                os.read(fd, 4096)

    def _has_ended(self) -> bool:
        try:
            return has_ended(self.pid)
        except ChildProcessError:
            return True  # The program reaped it.

    def _exceeded(self) -> Literal["timeout", "memory"] | None:
        """Which limit the test has reached, if any."""
        now = time.monotonic()
        timeout, limit = self.timeout, self.isolation.memory_limit
        if timeout is not None:
            allowed = timeout if self._began is not None else timeout + _START_ALLOWANCE
            if now - (self._began or self._started) > allowed:
                return "timeout"
        if limit is not None:
            self._peak = max(self._peak, private_bytes(self.pid) - self._memory_at_start)
            if self._peak > limit:
                return "memory"
        return None

    def _kill(self, kind: Literal["timeout", "memory"]) -> None:
        self._ask_for_stacks()
        for pid in descendants(self.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._settle(kind)

    def _ask_for_stacks(self) -> None:
        before = seen = self.files.size("stack")
        try:
            os.kill(self.pid, STACK_SIGNAL)
        except OSError:
            return
        deadline = time.monotonic() + _STACK_WAIT
        while time.monotonic() < deadline and not self._has_ended():
            time.sleep(0.005)
            size = self.files.size("stack")
            if size == seen != before:
                return
            seen = size

    def _settle(self, kind: Literal["died", "timeout", "memory"]) -> None:
        """End what is left of the process's group, and reap it."""
        if self.end is None:
            limit = self.isolation.memory_limit
            self.end = End(kind, end_group(self.pid), self.timeout, limit, self._peak)
            if self._pidfd is not None:
                close_descriptor(self._pidfd)
            self.output.pass_on(self.output.sizes())

    def stack(self) -> str:
        """What faulthandler wrote, without the frames that every test has below its own."""
        return without_machinery(self.files.content("stack"))

    def leave(self) -> int | None:
        """Let the process end by itself; returns its exit code, or `None` if it was killed."""
        left = watched(descendants(self.pid))
        self.files.end_commands()
        deadline = time.monotonic() + _LEAVE_ALLOWANCE
        while self.end is None and not self._has_ended() and time.monotonic() < deadline:
            self._wait()
            self.output.pass_on(self.output.sizes())
        late = self.end is None and not self._has_ended()
        self._settle("died")
        end_watched(left)
        assert self.end is not None
        return None if late else self.end.returncode

    def close(self) -> None:
        """End the process at once, and let go of everything."""
        self._settle("died")
        self.files.close()


def _payload(
    config: pytest.Config, files: SharedFiles, collect: str, number: int
) -> dict[str, Any]:
    how = measuring(config)
    args = [*map(str, config.invocation_params.args), *how.options]
    factory: Any = getattr(config, "_tmp_path_factory", None)
    basetemp = None if factory is None else str(factory.getbasetemp() / f"isolated-{number}")
    return {
        **files.fds,
        "records_path": f"/proc/{os.getpid()}/fd/{files.fds['records']}",
        "lifeline": lifeline(),
        "path": IMPORT_PATH,
        "argv": list(sys.argv),
        "args": args,
        "collect": [collect],
        "coverage": how.arguments,
        "contexts": how.contexts,
        "basetemp": basetemp,
        "xml": xml_family(config),
    }
