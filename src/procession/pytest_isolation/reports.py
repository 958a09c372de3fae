"""Reports for pytest: repeated as a test's process told them, or made up where it died."""

from __future__ import annotations

import errno
import sys
import warnings
from typing import Any, Literal

import pytest
from _pytest.skipping import evaluate_xfail_marks, xfailed_key

from procession.errors import MemoryLimitExceeded, TimedOut, WorkerDied
from procession.pytest_isolation.unpatched import signal
from procession.system import NamedTuple
from procession.system.pristine import time

Phase = Literal["setup", "call", "teardown"]


class End(NamedTuple):
    """How a test's process ended.

    Attributes:
        kind: By itself, or ended for one of its limits.
        returncode: Exit code, or minus the signal.
        timeout: Seconds that its last test was given.
        memory_limit: Bytes of private memory that it was given.
        peak: Most private memory that was seen, in bytes.
    """

    kind: Literal["died", "timeout", "memory"]
    returncode: int
    timeout: float | None
    memory_limit: int | None
    peak: int


_Failed: Any = pytest.fail.Exception
"""A base that makes pytest print the message alone, without a traceback through this file."""


class _Told:
    """Reads as its message alone, in the report and in the one-line summary."""

    pytrace = False
    args: tuple[Any, ...]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # pytest prints a class as its module has it, and builtins' without a module.
        kind: Any = cls
        kind.__module__ = "builtins"
        kind.__name__ = kind.__qualname__ = kind.__name__.removeprefix("Test")

    def __str__(self) -> str:
        return str(self.args[0])


class TestWorkerDied(_Told, WorkerDied, _Failed):  # type: ignore[misc]
    """The process of an isolated test died."""

    __test__ = False


class TestTimedOut(_Told, TimedOut, _Failed):  # type: ignore[misc]
    """An isolated test ran longer than its timeout."""

    __test__ = False


class TestMemoryLimitExceeded(_Told, MemoryLimitExceeded, _Failed):  # type: ignore[misc]
    """An isolated test's process passed its memory_limit."""

    __test__ = False


class TestNotRun(_Told, _Failed):  # type: ignore[misc]
    """An isolated test could not be run, or interrupted its own pytest."""

    __test__ = False

    def __init__(self, message: str) -> None:
        _Failed.__init__(self, message, pytrace=False)


def failure(end: End, stack: str, phase: Phase, seconds: float) -> BaseException:
    """Say how a process ended that should not have."""
    where = "" if phase == "call" else f" in its {phase}"
    tail = f"\n\n{stack}" if stack else ""
    if end.kind == "timeout":
        assert end.timeout is not None
        return TestTimedOut(
            f"the test ran longer than timeout={end.timeout:g} s{where}, "
            f"and its process was ended after {seconds:.2f} s.{tail}",
            seconds=end.timeout,
            stack=stack,
        )
    if end.kind == "memory":
        assert end.memory_limit is not None
        return TestMemoryLimitExceeded(
            f"the test's process reached {_size(end.peak)} of private "
            f"memory{where}, above memory_limit={_size(end.memory_limit)}, and was ended "
            f"after {seconds:.2f} s.{tail}",
            limit=end.memory_limit,
            peak=end.peak,
        )
    name = signal_name(end.returncode)
    how = f"was killed by {name}" if name else f"exited with code {end.returncode}"
    hint = ""
    if end.returncode == -signal.SIGKILL and not stack:
        hint = " If the test did not do that to itself, it was probably the OOM killer."
    if end.returncode >= 0:
        hint = " Something in it called os._exit() or the like."
    return TestWorkerDied(
        f"the test's process {how}{where} after {seconds:.2f} s.{hint}{tail}",
        exitcode=end.returncode,
        signal=name,
        stack=stack,
    )


_MACHINERY = ("_pytest", "pluggy", "pytest_isolation", "pytest_timeout.py")
"""Folders and files whose frames lie below a test's own in every stack."""


def without_machinery(stacks: str) -> str:
    """What faulthandler wrote of each thread, without what lies below every test."""
    threads = stacks.strip().split("\n\n")
    return "\n\n".join("\n".join(_cut(one.splitlines())) for one in threads)


def _cut(lines: list[str]) -> list[str]:
    """One thread's stack, innermost frame first, cut where pytest called the test."""
    for number in range(len(lines) - 1, -1, -1):
        if "pytest_isolation/inner.py" in lines[number] and lines[number].endswith(" in _run"):
            while number > 0 and _is_machinery(lines[number - 1]):
                number -= 1
            return lines[:number]
    return lines


def _is_machinery(line: str) -> bool:
    """Whether a line is a frame of pytest's, or of ours."""
    parts = line.split('"')
    if not line.startswith("  File ") or len(parts) < 3:
        return False
    return any(part in _MACHINERY for part in parts[1].split("/"))


def signal_name(returncode: int) -> str | None:
    """The name of the signal that a negative exit code stands for."""
    if returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB ({count} bytes)"


_MENDS = {
    errno.EMFILE: "Raise the limit on open files (ulimit -n), or look for what leaves them open.",
    errno.ENFILE: "The whole system has no open files left.",
    errno.EAGAIN: "Raise the limit on processes (ulimit -u), or run fewer tests at a time.",
    errno.ENOMEM: "Use fewer workers of pytest-xdist, or a machine with more memory.",
    errno.ENOSPC: "Make room where temporary files are kept (TMPDIR).",
    errno.ENOENT: "Look whether the folder pytest was started in, the interpreter and the folder "
    "for temporary files (TMPDIR, --basetemp) are still there.",
}


def mend(error: Exception) -> str:
    """An error of the system's, with what to do about it."""
    number = getattr(error, "errno", None)
    advice = _MENDS.get(number, "") if isinstance(number, int) else ""
    return f"{type(error).__name__}: {error}. {advice}".rstrip()


def failed_report(
    item: pytest.Item,
    phase: Phase,
    error: BaseException,
    start: float,
    sections: list[tuple[str, str]],
) -> pytest.TestReport:
    """Report that a phase failed, the way pytest does: through its hook, and by its xfail marks.

    It began at `start`, in seconds since the epoch, and had printed `sections`.
    """
    try:
        raise error
    except BaseException:
        found = pytest.ExceptionInfo.from_current()
    stop = max(start, time.time())
    call: pytest.CallInfo[None] = pytest.CallInfo(
        None, found, start, stop, stop - start, phase, _ispytest=True
    )
    try:
        # What the test's own process would have found out in its setup.
        item.stash[xfailed_key] = evaluate_xfail_marks(item)
    except (Exception, pytest.fail.Exception):
        pass  # A condition that fails expects nothing.
    make: Any = item.ihook.pytest_runtest_makereport
    if phase != "setup":
        # Plugins begin with a test at its setup's report, and that one was made elsewhere.
        passed: pytest.CallInfo[None] = pytest.CallInfo(
            None, None, start, start, 0.0, "setup", _ispytest=True
        )
        make(item=item, call=passed)
    report: pytest.TestReport = make(item=item, call=call)
    report.sections[:0] = sections
    return report


# -- repeated ------------------------------------------------------------------------------------

_FAILED_SUBTESTS = "procession_failed_subtests"


def restored_report(config: pytest.Config, data: dict[str, Any]) -> pytest.TestReport:
    """Build a report from what was sent of it."""
    subtest, failed = data.get("_subtest.context"), data.pop(_FAILED_SUBTESTS, 0)
    report: Any = config.hook.pytest_report_from_serializable(config=config, data=data)
    if subtest is not None and hasattr(report, "context"):
        # What was the parameters' repr is not to become the repr of that.
        object.__setattr__(report.context, "kwargs", subtest["kwargs"])
    counted = _counted_subtests(config)
    if failed and counted is not None:
        counted[getattr(report, "id", report.nodeid)] = failed
    restored: pytest.TestReport = report
    return restored


def add_failed_subtests(config: pytest.Config, report: Any, data: dict[str, Any]) -> None:
    """Send along how many subtests failed so far: by this, pytest 9 fails the test itself."""
    counted = _counted_subtests(config)
    if counted:
        data[_FAILED_SUBTESTS] = counted.get(getattr(report, "id", report.nodeid), 0)


def _counted_subtests(config: pytest.Config) -> Any:
    subtests: Any = sys.modules.get("_pytest.subtests")
    key = getattr(subtests, "failed_subtests_key", None)
    return None if key is None else config.stash.get(key, None)


def replay_warning(
    item: pytest.Item,
    nodeid: str,
    text: str,
    category: tuple[str, str],
    filename: str,
    lineno: int,
    line: str | None,
) -> None:
    """Hand a recorded warning to the plugins of this process."""
    kind = _known(*category)
    if kind is None:
        kind, text = UserWarning, f"{category[1]}: {text}"
    message = warnings.WarningMessage(_rebuilt(kind, text), kind, filename, lineno, line=line)
    item.ihook.pytest_warning_recorded.call_historic(
        kwargs={
            "warning_message": message,
            "nodeid": nodeid,
            "when": "runtest",
            "location": None,
        }
    )


def _known(module: str, name: str) -> type[Warning] | None:
    """The category, if this process knows it; nothing is imported to find out."""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Warning) else None


def _rebuilt(kind: type[Warning], text: str) -> Warning:
    """A warning that reads the same; its own kind, if that is made from a text."""
    try:
        message = kind(text)
        if str(message) == text:
            return message
    except Exception:
        pass  # A constructor that wants something else.
    return Warning(text)
