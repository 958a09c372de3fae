"""Pages say what is: each name, path and link of ours that they quote exists."""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import procession
from tests.support import ROOT

PACKAGE = Path(procession.__file__).parent
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

OTHERS = {
    *dir(builtins),
    *(
        "__main__",
        "os",
        "wrapt",
        "asyncio",
        "gevent",
        "multiprocessing",
        "socket",
        "fork",
        "select",
        "deadline",
    ),
}
"""Words in backticks that are no names of ours."""


def _members(tree: ast.AST) -> Iterator[str]:
    """What is defined in a module or class: functions, classes, and names that are assigned."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


def _names() -> dict[str, set[str]]:
    """Each module and class of the package, by its last name, with what is defined in it."""
    found: dict[str, set[str]] = defaultdict(set)
    bases: list[tuple[str, str]] = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        name = path.parent.name if path.stem == "__init__" else path.stem
        found[name] |= set(_members(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name] |= set(_members(node))
                bases += [(node.name, each.id) for each in node.bases if isinstance(each, ast.Name)]
        if path.stem != "__init__":
            found[path.parent.name].add(path.stem)
    for name, base in bases * 2:  # and those of the bases' bases
        found[name] |= found[base]
    return found


NAMES = _names()
EVERYTHING = set().union(*NAMES.values()) | set(NAMES)


def _is_ours(quoted: str) -> bool:
    """Whether a quoted path, module or name exists."""
    if "/" in quoted or quoted.endswith((".py", ".md", ".txt")):
        return any(
            (base / quoted).exists() for base in (ROOT, ROOT / "src", PACKAGE, ROOT / "tests")
        )
    first, *rest = quoted.removeprefix("procession.").removesuffix("()").split(".")
    if not rest:
        return first in EVERYTHING
    return all(
        inner in NAMES.get(outer, set()) for outer, inner in zip([first, *rest], rest, strict=False)
    )


def _quoted(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    return re.findall(r"`([\w./]+(?:\(\))?)`", text)


def test_the_architecture_names_what_there_is() -> None:
    """Each object, module and folder that the page names exists."""
    quoted = {name for name in _quoted(ARCHITECTURE) if name.partition(".")[0] not in OTHERS}
    assert not sorted(name for name in quoted if not _is_ours(name))


def _rooms() -> dict[str, list[str]]:
    """Each folder of the package with its modules."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        rooms[f"{path.parent.relative_to(PACKAGE.parent)}/"].append(path.stem)
    return {room: [name for name in names if name != "__init__"] for room, names in rooms.items()}


def test_the_architecture_has_the_tree() -> None:
    """The page's table of rooms has each folder, in a line that names its modules."""
    rows = re.findall(r"^\| `([\w/]+/)` \| .+ \| (.*) \|$", ARCHITECTURE.read_text(), flags=re.M)
    page = {room: re.findall(r"`(\w+)`", files) for room, files in rows}
    for room, names in _rooms().items():
        row = ", ".join(f"`{name}`" for name in names)
        assert page.get(room) == names, f"write in the row of {room}: {row}"
    assert set(page) == set(_rooms())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_links_lead_somewhere(page: Path) -> None:
    """Each path of this project that a page quotes, and each link to a file, exists."""
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]
    inside = r"(?:src|tests|docs|examples|benchmarks|engine|backends|process|worker|configuration)/"
    paths = [name for name in _quoted(page) if re.match(inside, name)]
    assert not [path for path in paths if not _is_ours(path)]
