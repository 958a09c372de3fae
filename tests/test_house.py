"""The rules of the house: which room may import which, read from the sources.

Every import counts: at the top of a module, inside a function, for types only, and module names in
strings. `EXCEPTIONS` names what does not hold yet; it may only become shorter.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import procession

ROOT = Path(procession.__file__).parent
EXCEPTIONS = Path(__file__).with_name("house_exceptions.txt")

FLOORS = [
    "hints",
    "errors",
    "system",
    "items",
    "contract",
    "once",
    "user_threads",
    "configuration",
    "buffers",
    "pickling",
    "decoratable",
    "explaining",
    "logger",
    "functions",
    "outcome",
    "awaiting",
    "futures",
    "waiting",
    "forwarding",
    "worker",
    "start_costs",
    "observer",
    "tasks",
    "process",
    "backends",
    "shared",
    "engine",
    "pitfalls",
    "verbs",
    "wrapt_core",
    "function",
    "typing",
    "decorators",
    "pool",
    "profiling",
    "testing",
    "pytest_isolation",
    "pytest_plugin",
    "joblib_arrays",
    "joblib",
    "procession",
    "cli",
    "__main__",
]
"""The rooms, from the ground up: each imports only rooms that stand before it."""


@functools.cache
def _modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _owner(name: str) -> str | None:
    """The module that a dotted name is, or is defined in; `None` if it is no name of ours."""
    while name and name not in _modules():
        name = name.rpartition(".")[0]
    return name or None


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{each.name}" for each in node.names)
    elif (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"procession(\.\w+)+", node.value)
        and _owner(node.value) != "procession"  # a public name, in a message
    ):
        yield node.value


@functools.cache
def _imports() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for name, path in _modules().items():
        tree = ast.parse(path.read_text())
        named = {_owner(each) for node in ast.walk(tree) for each in _named(node)}
        graph[name] = {each for each in named if each is not None and each != name}
    return graph


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def _in_circles(graph: dict[str, set[str]]) -> set[str]:
    """The modules from which a chain of imports leads back to themselves."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for each in graph[todo.pop()] - seen:
                seen.add(each)
                todo.append(each)
        return seen

    return {each for each in graph if each in reachable(each)}


def found() -> list[str]:
    """What breaks a rule of the house, a line each."""
    floor, graph = {room: number for number, room in enumerate(FLOORS)}, _imports()
    upward = {f"{a} -> {b}" for a in graph for b in graph[a] if floor[_room(a)] < floor[_room(b)]}
    return sorted(
        {f"upward: {each}" for each in upward} | {f"circle: {each}" for each in _in_circles(graph)}
    )


def test_every_room_has_a_floor() -> None:
    """`FLOORS` names the rooms that there are, and no other."""
    assert {_room(each) for each in _modules()} == set(FLOORS)


def test_imports_lead_down() -> None:
    """No room imports one above it, and no module itself by a detour, but for the exceptions."""
    assert found() == EXCEPTIONS.read_text().splitlines()


TESTED_ELSEWHERE = {
    "backends/cluster": "clusters",
    "forwarding": "conformance",
    "pytest_isolation": "pytest_plugin",
    "shared/memory": "shared",
}
"""Rooms without a folder of tests of their own, and the folder that tests them."""


def test_tests_mirror_the_rooms() -> None:
    """Each room has a folder of tests; every other one is a suite that CONTRIBUTING.md names."""
    here = Path(__file__).parent
    modules = [path for path in ROOT.glob("*/**/*.py") if path.stem != "__init__"]
    rooms = {str(path.parent.relative_to(ROOT)) for path in modules}
    folders = {str(path.parent.relative_to(here)) for path in here.glob("**/__init__.py")} - {"."}
    assert rooms - folders == set(TESTED_ELSEWHERE)
    assert set(TESTED_ELSEWHERE.values()) <= folders
    told = (here.parent / "CONTRIBUTING.md").read_text()
    top = {room.partition("/")[0] for room in rooms}
    suites = {folder.partition("/")[0] for folder in folders} - top - {"support"}
    assert [suite for suite in sorted(suites) if f"tests/{suite}/" not in told] == []


@pytest.mark.parametrize("name", [".ci/run", "Makefile", "pyproject.toml", "CONTRIBUTING.md"])
def test_tests_that_are_named_are_there(name: str) -> None:
    """What runs or tells of some tests by their path goes along when these move."""
    checkout = Path(__file__).parent.parent
    named = re.findall(r"\btests/[\w/]+(?:\.py)?", (checkout / name).read_text())
    assert not [path for path in named if not (checkout / path).exists()]


def test_no_two_files_of_one_name() -> None:
    """A file's name says what it is wherever it is met."""
    names = Counter(path.stem for path in _modules().values() if path.stem != "__init__")
    assert [name for name, count in names.items() if count > 1] == []
