"""Warnings of a test's process, repeated in pytest's."""

from __future__ import annotations

import sys
import warnings

import pytest

__all__ = ["replay_warning"]


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
