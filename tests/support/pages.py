"""The pages of the documentation: where they are, their code, and how that is run."""

from __future__ import annotations

import gc
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.support.project import ROOT

__all__ = ["DOCS", "PAGES", "Block", "blocks", "fences", "run"]

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "examples").glob("*.md"), *DOCS.rglob("*.md")])

_FENCE = re.compile(r"^( *)(`{3,})(.*)$")
_RAISES = re.compile(r"^<!-- raises: (\w+) -->$")


@dataclass(frozen=True)
class Block:
    """Code of a page.

    Attributes:
        language: What stands behind the fence.
        line: The line of the page in which the code begins.
        code: The code.
        raises: The name of the error in which it ends, or nothing.
    """

    language: str
    line: int
    code: str
    raises: str = ""


def blocks(text: str) -> list[Block]:
    """All code of a page in order, that in comments (``<!-- python``) included.

    A block whose error is shown has ``<!-- raises: NotPicklable -->`` in a line before it.
    """
    found: list[Block] = []
    end, language, start, raises = "", "", 0, ""
    code: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if end:
            if line.strip() == end:
                found.append(Block(language, start, "\n".join(code), raises))
                end, raises, code = "", "", []
            else:
                code.append(line)
        elif fence := _FENCE.match(line):
            end, language, start = fence[2], fence[3].strip().partition(" ")[0], number + 1
        elif line == "<!-- python":
            end, language, start = "-->", "python", number + 1
        elif expected := _RAISES.match(line):
            raises = expected[1]
    assert not end, f"line {start}: this block has no end"
    return found


def fences(text: str) -> set[str]:
    """The languages of all blocks of a page."""
    return {block.language for block in blocks(text)}


def run(page: Path) -> int:
    """Run the Python of a page as one script would, block by block; tell how many there were.

    The page is ``__main__`` meanwhile: what it defines is sent to workers by value, and a traceback
    points at the page's own lines.
    """
    main = ModuleType("__main__")
    main.__file__ = str(page)
    before, sys.modules["__main__"] = sys.modules["__main__"], main
    every = [each for each in blocks(page.read_text()) if each.language == "python"]
    try:
        for block in every:
            _run(block, page, main)
    finally:
        sys.modules["__main__"] = before
        vars(main).clear()  # what holds memory or workers goes, as at a script's end
        gc.collect()
    return len(every)


def _run(block: Block, page: Path, main: ModuleType) -> None:
    code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
    try:
        exec(code, vars(main))
    except Exception as error:
        if type(error).__name__ != block.raises:
            raise
    else:
        assert not block.raises, f"{page.name}:{block.line} does not raise {block.raises}"
