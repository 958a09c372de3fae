"""Prose is short and plain: docstrings, comments and messages of the sources, and the pages.

A sentence has 25 words at most, and no word that riddles. `EXCEPTIONS` names the files that are not
clean yet; it may only become shorter.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import procession
from tests.support.project import ROOT

PACKAGE = Path(procession.__file__).parent
EXCEPTIONS = Path(__file__).with_name("prose_exceptions.txt")
FILES = sorted([*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

MOST_WORDS = 25
RIDDLES = re.compile(r"\b(whoever|whomever|nobody|somebody|whatever|beside)\b", re.IGNORECASE)
NAMES = re.compile(r" `\w+`(, `\w+`)* ")
PARAGRAPHS = re.compile(r"\n\s*\n|\n\s*(?=[-*] |\d+\. |\w+: )|\n(?= {4,}\w[^.]*\()")
SENTENCES = re.compile(r"(?<=[.!?;:])\s+")


def _of_python(path: Path) -> Iterator[tuple[int, str]]:
    """Each string of a few words and more, and each block of comments, with its line."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (each.value if isinstance(each, ast.Constant) else "X" for each in node.values)
            yield node.lineno, "".join(map(str, parts))
    block: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(iter(text.splitlines(keepends=True)).__next__):
        if token.type == tokenize.COMMENT:
            start = start if block else token.start[0]
            block.append(token.string.lstrip("# "))
        elif block and token.type not in (tokenize.NL, tokenize.NEWLINE):
            yield start, " ".join(block)
            block = []


def _of_page(path: Path) -> Iterator[tuple[int, str]]:
    """Each block of a page that is no code, comment or link's target; of a table, each cell.

    A cell that is a list of names has no sentence.
    """
    text = re.sub(
        r"^```.*?^```|^<!-- .*?-->",
        lambda m: "\n" * m[0].count("\n"),
        re.sub(r"\]\([^)]*\)", "]", path.read_text().replace("**", "")),
        flags=re.M | re.S,
    )
    line = 1
    for block in text.split("\n\n"):
        if not block.startswith("    "):
            for number, row in enumerate(block.split("\n"), line):
                if row.startswith("|"):
                    cells = (cell for cell in row.split("|") if not NAMES.fullmatch(cell))
                    yield from ((number, cell) for cell in cells)
            yield (
                line,
                "\n".join(row for row in block.split("\n") if not row.startswith(("|", "#"))),
            )
        line += block.count("\n") + 2


def faults(path: Path) -> list[str]:
    """What breaks the rule in a file, a line each."""
    found = []
    for line, text in (_of_page if path.suffix == ".md" else _of_python)(path):
        for paragraph in PARAGRAPHS.split(text):
            for sentence in SENTENCES.split(" ".join(paragraph.split())):
                words = len(re.findall(r"[\w'`]+", sentence))
                riddle = RIDDLES.search(sentence)
                if words > MOST_WORDS:
                    found.append(f"{path}:{line}: {words} words: {sentence[:150]}")
                if riddle:
                    found.append(f"{path}:{line}: {riddle[0]!r}: {sentence[:110]}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_is_plain(path: Path) -> None:
    """Split a long sentence; write who or what is meant in place of a riddle."""
    name = str(path.relative_to(ROOT))
    if name in EXCEPTIONS.read_text().split():
        assert faults(path), f"{name} is clean now: take it out of {EXCEPTIONS.name}"
    else:
        assert not faults(path)


def test_exceptions_are_files() -> None:
    """What is excepted exists."""
    assert not [name for name in EXCEPTIONS.read_text().split() if not (ROOT / name).exists()]
