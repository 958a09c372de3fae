"""What a command found: as text of 80 columns for people, as JSON for programs."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["ok", "note", "warning", "wrong"]

_WIDTH = 80
_MARKS: dict[State, tuple[str, str]] = {
    "ok": ("ok", "32"),
    "note": ("--", "2"),
    "warning": ("!!", "33"),
    "wrong": ("XX", "31"),
}


@dataclass
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        state: Whether it is well; ``"wrong"`` makes the command exit with 1.
        text: What was found.
        mend: What to do about it; empty if nothing need be done.
        place: Where it is, as ``file:line``; empty if nowhere.
    """

    name: str
    state: State
    text: str
    mend: str = ""
    place: str = ""


@dataclass
class Report:
    """All that a command found, in sections."""

    title: str
    sections: dict[str, list[Finding]] = field(default_factory=dict[str, list[Finding]])

    def add(self, section: str, finding: Finding) -> None:
        """Take a finding into a section."""
        self.sections.setdefault(section, []).append(finding)

    @property
    def findings(self) -> Iterable[Finding]:
        """All of them."""
        return (each for section in self.sections.values() for each in section)

    @property
    def exit_code(self) -> int:
        """0, or 1 if something is wrong."""
        return int(any(each.state == "wrong" for each in self.findings))

    def show(self, *, as_json: bool) -> int:
        """Print it; gives the exit code."""
        print(json.dumps(self._plain(), indent=2) if as_json else self._text())
        return self.exit_code

    def _plain(self) -> dict[str, Any]:
        sections = {name: [asdict(each) for each in all_] for name, all_ in self.sections.items()}
        return {"title": self.title, "ok": not self.exit_code, "sections": sections}

    def _text(self) -> str:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        lines = [self.title]
        for name, findings in self.sections.items():
            lines += ["", name]
            for each in findings:
                lines += _lines(each, colour)
        wrong = sum(each.state == "wrong" for each in self.findings)
        doubtful = sum(each.state == "warning" for each in self.findings)
        end = f"{wrong} wrong, {doubtful} to look at." if wrong or doubtful else "All is well."
        return "\n".join([*lines, "", end])


def _lines(finding: Finding, colour: bool) -> list[str]:
    mark, code = _MARKS[finding.state]
    place = f"{finding.place}: " if finding.place else ""
    lines = [
        *_wrapped(f"  {mark} {place}{finding.name}: {finding.text}"),
        *_wrapped(finding.mend and f"     {finding.mend}"),
    ]
    if colour:
        lines[0] = lines[0].replace(mark, f"\033[{code}m{mark}\033[0m", 1)
    return lines


def _wrapped(text: str) -> list[str]:
    """Lines of the page's width; lines that the text has of its own stay, such as a path's."""
    lines: list[str] = []
    for number, line in enumerate(text.splitlines()):
        lines += textwrap.wrap(
            line if number == 0 else "     " + line.strip(),
            _WIDTH,
            subsequent_indent="     ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
