"""Modules that are edited and reloaded: what runs is what the caller has now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procession.functions import reloads
from procession.system import cpython
from tests.support.far import run_script

MODULE = """
from procession import background, isolated, parallel, parallel_map
import helper_of_edited
from helper_of_edited import base
K = 1
def helper(): return 1
@isolated
def alone(x): return x + K
@parallel_map(inline=False, workers=1)
def each(x): return x + K
@parallel(workers=1)
def one(x): return x + helper()
@parallel(workers=1)
def default(x, by=1): return x + by
@parallel(workers=1)
def other(x): return x + helper_of_edited.value() + base.K
@parallel(workers=1, backend="loky")
def on_loky(x): return x + K
@parallel(workers=1, backend="stdlib")
def on_stdlib(x): return x + K
@parallel(workers=1, context="fork")
def forked(x): return x + K
def plain(x): return x + K
class C:
    k = 1
    def __init__(self): self.own = 1
    @isolated
    def m(self): return self.k
    @parallel(workers=1)
    @classmethod
    def c(cls): return cls.k
    @parallel(workers=1)
    @staticmethod
    def s(): return C.k
"""

HELPER = """
def value(): return 1
class base: K = 1
"""

SCRIPT = """
import importlib, os, pathlib, sys, warnings
sys.dont_write_bytecode = True
warnings.simplefilter("ignore")
import procession
import edited, helper_of_edited
from procession import NotPicklable, Pool, parallel, parallel_map

def edit(module, *changes):
    path = pathlib.Path(module.__file__)
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    edit.time = getattr(edit, "time", os.stat(path).st_mtime) + 10
    os.utime(path, (edit.time, edit.time))

def told(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

TENFOLD = (("K = 1", "K = 10"), ("return 1", "return 10"), ("by=1", "by=10"), ("k = 1", "k = 10"))
pool = Pool(1)

def calls():
    c = edited.C()
    return [told(call) for call in (
        lambda: edited.alone(0), lambda: edited.each([0])[0], lambda: edited.one.submit(0).result(),
        lambda: edited.default.submit(0).result(), lambda: c.m(),
        lambda: edited.C.c.submit().result(), lambda: edited.C.s.submit().result(),
        lambda: pool.submit(edited.plain, 0).result(),
        lambda: list(pool.map(edited.plain, [0]))[0], lambda: edited.forked.submit(0).result(),
    )]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A script's folder, with two modules that it edits."""
    (tmp_path / "edited.py").write_text(MODULE)
    (tmp_path / "helper_of_edited.py").write_text(HELPER)
    return tmp_path


def test_reloaded_modules_run_anew(folder: Path) -> None:
    """After `importlib.reload` no warm worker, spare or pool runs what was there before."""
    script = f"""{SCRIPT}
assert calls() == [1] * 10, calls()
assert calls() == [1] * 10, calls()  # warm, with a spare
edit(edited, *TENFOLD)
importlib.reload(edited)
assert calls() == [10] * 10, calls()
assert calls() == [10] * 10, calls()
edit(edited, ("K = 10", "K = 7"))
importlib.reload(edited)
assert edited.each([0]) == [7] and edited.alone(0) == 7
del sys.modules["edited"]
edit(edited, ("K = 7", "K = 8"))
import edited
assert edited.each([0]) == [8] and edited.alone(0) == 8
pool.shutdown()
print("fine")
"""
    assert run_script(folder, script) == "fine\n"


def test_executors_start_anew_after_a_reload(folder: Path) -> None:
    """loky's and the standard library's workers of before are not asked again."""
    script = f"""{SCRIPT}
if __name__ == "__main__":
    run = lambda: [f.submit(0).result() for f in (edited.on_loky, edited.on_stdlib)]
    assert run() == run() == [1, 1]
    edit(edited, ("K = 1", "K = 10"))
    importlib.reload(edited)
    assert run() == run() == [10, 10]
    procession.shutdown()
    print("fine")
"""
    assert run_script(folder, script) == "fine\n"


def test_what_a_function_imports_is_reloaded(folder: Path) -> None:
    """A helper's module that was reloaded is imported anew there as well."""
    script = f"""{SCRIPT}
run = lambda: edited.other.submit(0).result()
assert run() == run() == 2
edit(helper_of_edited, ("return 1", "return 10"))
importlib.reload(helper_of_edited)
assert run() == edited.other.local(0) == 11
edit(helper_of_edited, ("K = 1", "K = 5"))
importlib.reload(helper_of_edited)
def by_value(x): return helper_of_edited.base.K + x
assert parallel(workers=1)(by_value).submit(0).result() == 5
pool.shutdown()
print("fine")
"""
    assert run_script(folder, script) == "fine\n"


def test_function_from_before_a_reload(folder: Path) -> None:
    """It goes if it is what the module has now, and is refused if it is not."""
    script = f"""{SCRIPT}
from edited import each, one
assert each([0]) == [1] and one.submit(0).result() == 1
edit(edited, ("K = 1", "K = 10"))
importlib.reload(edited)
assert each([0]) == [each.local(0)] == [10]
edit(edited, ("x + helper()", "x + helper() * 2"))
importlib.reload(edited)
text = told(lambda: one.submit(0).result())
assert text.startswith("NotPicklable") and "reloaded" in text, text
assert edited.one.submit(0).result() == 2
pool.shutdown()
print("fine")
"""
    assert run_script(folder, script) == "fine\n"


def test_autoreload(folder: Path) -> None:
    """IPython's autoreload patches functions and classes that are there: these run as they are."""
    script = f"""{SCRIPT}
from IPython.extensions.autoreload import ModuleReloader
from edited import C, alone, default, each, one
reloader = ModuleReloader()
reloader.check(check_all=True)
c = C()
run = lambda: [told(call) for call in (
    lambda: alone(0), lambda: each([0])[0], lambda: one.submit(0).result(),
    lambda: default.submit(0).result(), lambda: c.m(), lambda: C.c.submit().result(),
    lambda: C.s.submit().result())]
assert run() == run() == [1] * 7, run()
edit(edited, *TENFOLD)
reloader.check(check_all=True)
here = [alone.local(0), each.local(0), one(0), default(0), c.m.local(), C.c(), C.s()]
assert run() == run() == here, (run(), here)
edit(edited, ("return x + K", "return x + K + 100"))
reloader.check(check_all=True)
assert run()[:2] == [110, 110], run()
pool.shutdown()
print("fine")
"""
    pytest.importorskip("IPython")
    assert run_script(folder, script) == "fine\n"


def test_file_that_was_edited_and_not_reloaded(folder: Path) -> None:
    """Workers from before go on; one that starts now is refused, in words, and no wrong value."""
    script = f"""{SCRIPT}
assert edited.each([0]) == [1]
edit(edited, ("K = 1", "K = 10"))
assert edited.each([0]) == [1]
text = told(lambda: edited.alone(0))
assert text.startswith("NotPicklable") and "edited after" in text, text
assert "importlib.reload" in text, text
procession.shutdown()
text = told(lambda: edited.each([0]))
assert text.startswith("NotPicklable") and "edited after" in text, text
importlib.reload(edited)
assert edited.each([0]) == [10] and edited.alone(0) == 10
path = pathlib.Path(edited.__file__)
os.utime(path, (edit.time + 5, edit.time + 5))
procession.shutdown()
assert edited.each([0]) == [10] and edited.alone(0) == 10, "touched"
edit(edited, ("def alone", "def renamed"))
text = told(lambda: edited.alone(0))
assert text.startswith("NotPicklable") and "not there" in text, text
pool.shutdown()
print("fine")
"""
    assert run_script(folder, script) == "fine\n"


def test_executor_of_the_user_after_a_reload(folder: Path) -> None:
    """What workers that are not ours have imported is told to be old."""
    script = f"""{SCRIPT}
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import multiprocessing
if __name__ == "__main__":
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as theirs:
        f = lambda: edited.each.with_options(backend=theirs)([0])
        assert f() == f() == [1]
        edit(edited, ("K = 1", "K = 10"))
        importlib.reload(edited)
        text = told(f)
        assert text.startswith("NotPicklable") and "was reloaded in the caller" in text, text
    with ThreadPoolExecutor(1) as theirs:
        assert f() == [10]
        importlib.reload(edited)
        assert f() == [10]
    procession.shutdown()
    print("fine")
"""
    assert run_script(folder, script) == "fine\n"


class _Changing(dict[str, Any]):
    """Modules, to which another thread adds one while their order is asked for."""

    def __reversed__(self) -> Iterator[str]:
        self.added = getattr(self, "added", 0) + 1
        names = super().__reversed__()
        if self.added == 1:
            self["tests_added_meanwhile"] = sys
        return names


def test_another_thread_may_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no error of a call that looks whether a module was reloaded."""
    before = reloads.generation()
    for ask in (reloads.generation, cpython.newest_module):
        monkeypatch.setattr(sys, "modules", _Changing(sys.modules))
        ask()
        monkeypatch.undo()
    assert reloads.generation() == before
