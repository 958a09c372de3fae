"""Pages say what is: each name, path and link of ours that they quote exists."""

from __future__ import annotations

import ast
import builtins
import functools
import re
import runpy
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import procession
import procession.errors
from tests.support.pages import DOCS, PAGES
from tests.support.project import ROOT

PACKAGE = Path(procession.__file__).parent
ARCHITECTURE = DOCS / "architecture.md"
SOURCE = "https://github.com/procession-py/procession"
SITE = "https://procession.readthedocs.io"

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


@functools.cache
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


@functools.cache
def _everything() -> set[str]:
    return set().union(*_names().values()) | set(_names())


def _is_ours(quoted: str) -> bool:
    """Whether a quoted path, module or name exists."""
    if "/" in quoted or quoted.endswith((".py", ".md", ".txt")):
        return any(
            (base / quoted).exists() for base in (ROOT, ROOT / "src", PACKAGE, ROOT / "tests")
        )
    first, *rest = quoted.removeprefix("procession.").removesuffix("()").split(".")
    if not rest:
        return first in _everything()
    pairs = zip([first, *rest], rest, strict=False)
    return all(inner in _names().get(outer, set()) for outer, inner in pairs)


def _quoted(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    return re.findall(r"`([\w./]+(?:\(\))?)`", text)


def test_the_architecture_names_what_there_is() -> None:
    """Each object, module and folder that the page names exists."""
    quoted = {name for name in _quoted(ARCHITECTURE) if name.partition(".")[0] not in OTHERS}
    assert not sorted(name for name in quoted if not _is_ours(name))


ELSEWHERE = {*sys.stdlib_module_names, "Logger", "Thread", "joblib", "pyproject", "six"}
"""What dotted names begin with that are not ours."""


def test_docstrings_name_what_there_is() -> None:
    """Each dotted name that a docstring or comment quotes exists, if it is one of ours."""
    rooms = {path.name for path in (PACKAGE, *PACKAGE.rglob("*")) if path.is_dir()}
    wrong: list[str] = []
    for path in PACKAGE.rglob("*.py"):
        for quoted in re.findall(r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)+)`(?!`)", path.read_text()):
            parts = quoted.split(".")
            outer, inner = parts[-2:]
            if parts[0] in ELSEWHERE:
                continue
            of_room = outer in rooms or outer not in _names()  # whose names may come from below
            if not (parts[0] in _everything() if of_room else inner in _names()[outer]):
                wrong.append(f"{path.relative_to(PACKAGE)}: {quoted}")
    assert wrong == []


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


def _anchors(page: Path) -> set[str]:
    """What links can point at in a page: its headings, as GitHub and myst write them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in _anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_links_lead_somewhere(page: Path) -> None:
    """Each path of this project that a page quotes, and each link to a file or heading, exists."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    cut = [line for line in text.splitlines() if re.search(r"\]\([^)]*$|^\|.*[^|]$", line)]
    assert not cut
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if not _leads_somewhere(page, link)]
    ours = re.findall(rf"\]\({SOURCE}/(?:blob|tree)/main/([^)#]+)", text)
    assert not [path for path in ours if not (ROOT / path).exists()]
    site = re.findall(rf"\]\({SITE}/en/latest/([\w/-]+)\.html", text)
    assert not [path for path in site if not (DOCS / f"{path}.md").exists()]
    inside = r"(?:src|tests|docs|examples|benchmarks|engine|backends|process|worker|configuration)/"
    paths = [name for name in _quoted(page) if re.match(inside, name)]
    assert not [path for path in paths if not _is_ours(path)]


def _contents() -> list[str]:
    """The pages that the site's contents name, in order."""
    trees = re.findall(r"```{toctree}\n(.*?)```", (DOCS / "index.md").read_text(), flags=re.S)
    lines = [line for tree in trees for line in tree.splitlines()]
    return [line for line in lines if line and not line.startswith(":")]


def test_every_page_is_in_the_contents() -> None:
    """Each page of the site stands once in a `toctree` of index.md."""
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")}
    assert sorted(_contents()) == sorted(pages - {"index"})


VERBS = """
    local submit map starmap imap imap_unordered outcomes map_async aimap with_options options
"""


def _documented(page: str) -> set[str]:
    """The last name of everything that a page takes from a docstring."""
    text = (DOCS / "reference" / page).read_text()
    return {name.rpartition(".")[2] for name in re.findall(r"^\.\. auto\w+:: ([\w.]+)", text, re.M)}


def test_the_reference_has_every_public_name() -> None:
    """And every verb of a decorated function; each has a docstring to show."""
    from procession import shared, testing, typing
    from procession.verbs import Verbs

    names = _documented("api.md")
    public = {*procession.__all__, *testing.__all__, *typing.__all__, *VERBS.split()}
    assert public - names == {"shared", "testing"}
    assert _documented("shared.md") == set(shared.__all__)
    for verb in VERBS.split():
        assert getattr(Verbs, verb, getattr(procession.parallel(abs), verb)).__doc__


def test_the_reference_has_every_error_and_option() -> None:
    """No class of errors is left out of their page, and no option of the two of options."""
    from procession.configuration.from_environment import TEXT_FORMS
    from procession.configuration.parsers import OPTIONS

    errors = (DOCS / "reference" / "errors.md").read_text()
    assert not [name for name in vars(procession.errors)["__all__"] if name not in errors]
    options = (DOCS / "reference" / "options.md").read_text()
    assert not [name for name in OPTIONS if f"`{name}`" not in options]
    environment = (DOCS / "reference" / "environment.md").read_text()
    assert not [name for name in TEXT_FORMS if f"`PROCESSION_{name.upper()}`" not in environment]


def test_the_page_of_variables_has_all_that_are_read() -> None:
    """Each variable of the environment that the sources ask for by its name."""
    from procession.process.start.hash_seed import VARIABLE
    from procession.worker.preparing import THREAD_VARIABLES

    asked = re.compile(r'environ(?:\.get)?[(\[]"([A-Z_]+)"|"([A-Z_]+)" (?:not )?in os\.environ')
    sources = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    names = {VARIABLE, *THREAD_VARIABLES} | {a or b for a, b in asked.findall(sources)}
    assert len(names) > 12
    page = (DOCS / "reference" / "environment.md").read_text()
    assert not [name for name in names if f"`{name}`" not in page]


def test_the_readme_has_the_figures_that_were_measured() -> None:
    """Its table is that of benchmarks/results, to the letter."""
    program = runpy.run_path(str(ROOT / "benchmarks" / "readme_table.py"))
    readme = (ROOT / "README.md").read_text()
    assert program["rewritten"](readme, program["RESULTS"].read_text()) == readme
