"""Reports and warnings of a test's process, repeated in pytest's."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Final

import pytest

__all__ = ["add_failed_subtests", "replay_warning", "restored_report"]

_FAILED_SUBTESTS: Final = "procession_failed_subtests"


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
