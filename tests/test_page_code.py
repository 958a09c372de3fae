"""Every block of Python in the pages runs.

The blocks of a page are one program: a name that one block defines is there in the next.
What a page needs and does not show stands in comments; see `tests/support/pages.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import PAGES, fences, run
from tests.support.project import ROOT

OWN_PROCESS = "<!-- runs in a process of its own -->"
"""On pages that change the process for good: its options, its handlers of signals, its exit."""

LANGUAGES = {"python", "console", "text", "toml", "ini", "{toctree}", "{eval-rst}"}
LANGUAGES |= {"{include}", "{literalinclude}"}
WITH_CODE = [page for page in PAGES if "python" in fences(page.read_text())]


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", WITH_CODE, ids=_id)
def test_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, with pools that the pages share."""
    if OWN_PROCESS in page.read_text():
        _run_apart(page, tmp_path)
    else:
        monkeypatch.chdir(tmp_path)
        assert run(page)


def _run_apart(page: Path, folder: Path) -> None:
    program = f"from tests.support.pages import run, Path; run(Path({str(page)!r}))"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        # Dask never removes its folder, in a place that all programs share.
        env={**os.environ, "PYTHONPATH": str(ROOT), "DASK_TEMPORARY_DIRECTORY": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_all_code_says_what_it_is(page: Path) -> None:
    """A block names its language, so that none escapes by being called text or nothing."""
    text = page.read_text()
    assert fences(text) <= LANGUAGES
    outside = "".join(part for part in text.split("```")[::2])
    looks_like_code = [
        line
        for line in outside.splitlines()
        if line.startswith("    ") and line.strip().startswith(("import ", "from ", "@", "def "))
    ]
    assert not looks_like_code, "write it between ```python and ```"
