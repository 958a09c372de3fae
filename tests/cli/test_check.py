"""``procession check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from procession.system import FOLDER

from .conftest import Run

HEALTHY = """
from procession import isolated, parallel, parallel_map

@parallel_map
def double(x: int) -> int:
    return 2 * x

class Store:
    @parallel
    def load(self, name: str) -> str:
        return name

    @isolated
    @staticmethod
    def parse(blob: bytes) -> int:
        return len(blob)
"""


def states(text: str) -> dict[str, set[str]]:
    """The states that were found, by section."""
    sections: dict[str, list[dict[str, Any]]] = json.loads(text)["sections"]
    return {name: {each["state"] for each in found} for name, found in sections.items()}


def test_a_healthy_module(run: Run, tmp_path: Path) -> None:
    """Functions and methods that can run in workers are told to."""
    (tmp_path / "healthy.py").write_text(HEALTHY)
    done = run("check", "healthy", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = states(done.stdout)
    for name in ("double", "Store.load"):
        assert found[f"healthy.{name}"] == {"ok"}


def test_one_function(run: Run, tmp_path: Path) -> None:
    """``MODULE:FUNCTION`` looks at that one; a file is named as well as a module."""
    (tmp_path / "healthy.py").write_text(HEALTHY)
    done = run("check", "healthy.py:Store.load", "--json")
    assert [*states(done.stdout)] == ["Import", "healthy.Store.load"]


SICK = {
    "a function inside another": (
        "from procession import parallel_map\n"
        "def make():\n"
        "    @parallel_map\n"
        "    def inner(x): return x\n"
        "    return inner\n"
        "inner = make()\n",
        1,
        "defined inside a function",
    ),
    "a decorator above": (
        "import functools\n"
        "from procession import parallel_map\n"
        "def log(f):\n"
        "    @functools.wraps(f)\n"
        "    def logged(*args): return f(*args)\n"
        "    return logged\n"
        "@log\n"
        "@parallel_map\n"
        "def hidden(x): return x\n",
        1,
        "stands above @parallel_map",
    ),
    "a module that raises what is no Exception": (
        "class Own(BaseException): ...\nraise Own\n",
        1,
        "sick.py:2",
    ),
    "a module that raises KeyboardInterrupt": ("raise KeyboardInterrupt\n", 1, "sick.py:1"),
    "a module that cannot be imported": ("import nowhere_to_be_found\n", 1, "sick.py:1"),
    "an option that does not exist": (
        "from procession import parallel_map\n@parallel_map(worker=2)\ndef f(x): return x\n",
        1,
        "workers",
    ),
    "a global that is changed": (
        "from procession import parallel_map\nseen = []\n@parallel_map\ndef f(x): seen.append(x)\n",
        0,
        "procession.shared.List()",
    ),
    "a lock": (
        "import threading\n"
        "from procession import parallel_map\n"
        "lock = threading.Lock()\n"
        "@parallel_map\n"
        "def f(x):\n"
        "    with lock: return x\n",
        0,
        "procession.shared.Lock()",
    ),
    "a call at import time": (
        "from procession import parallel_map\n@parallel_map\ndef f(x): return x\nf([1, 2])\n",
        0,
        "__name__",
    ),
    "a module that only the first process can import": (
        "import os\n"
        "from procession import parallel\n"
        "if os.path.exists('seen'): raise RuntimeError('imported twice')\n"
        "open('seen', 'w').close()\n"
        "@parallel\n"
        "def f(x): return x\n",
        1,
        "imported twice",
    ),
}


@pytest.mark.parametrize("what", SICK)
def test_a_sick_module(run: Run, tmp_path: Path, what: str) -> None:
    """What is wrong is told with its place and its mend; what cannot run at all exits with 1."""
    source, code, said = SICK[what]
    (tmp_path / "sick.py").write_text(source)
    done = run("check", "sick")
    assert done.returncode == code, done.stdout + done.stderr
    assert said in " ".join(done.stdout.split())
    assert "sick.py" in done.stdout
    lines = [line for line in done.stdout.splitlines() if "/" not in line]  # paths are not broken
    assert max(map(len, lines)) <= 80


def test_nothing_to_check(run: Run) -> None:
    """A module without a decorated function is told to have none."""
    assert "that Procession decorates" in " ".join(run("check", "json").stdout.split())
    assert run("check", "json:loads").returncode == 1


def test_no_such_module(run: Run) -> None:
    """A module that is not there is wrong, with what to do."""
    done = run("check", "no_such_module")
    assert done.returncode == 1
    assert "name its file" in " ".join(done.stdout.split())


def test_a_folder_whose_name_begins_with_ours(run: Run, tmp_path: Path) -> None:
    """An error in ``procession_x``, a folder next to Procession's own, is told with its place."""
    (tmp_path / "procession").symlink_to(FOLDER, target_is_directory=True)
    package = tmp_path / "procession_x"
    package.mkdir()
    (package / "__init__.py").write_text("\nimport nowhere_to_be_found\n")
    assert "__init__.py:2" in run("check", "procession_x", "--json").stdout
