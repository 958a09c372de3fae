"""Import hooks of the program, and path entries: what a worker imports is what was meant."""

from __future__ import annotations

from pathlib import Path

from tests.support.far import run_script

HOOKS = """
import ast, importlib.abc, importlib.machinery, os, sys

class Changing(importlib.machinery.SourceFileLoader):
    def source_to_code(self, data, path, *, _optimize=-1):
        return super().source_to_code(data.replace(b"unchecked", b"checked"), path)
    def set_data(self, *args, **kw): pass
    def get_code(self, name): return self.source_to_code(self.get_data(self.path), self.path)

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name == "of_no_file":
            return importlib.machinery.ModuleSpec(name, self, origin="nowhere")
        if name.startswith("hooked"):
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            spec.loader = Changing(name, spec.origin)
            return spec
    def create_module(self, spec): return None
    def exec_module(self, module): exec("def f(x): return x + 1", module.__dict__)

def install(): sys.meta_path.insert(0, Finder())
"""

SCRIPT = """
import sys
import own_hooks
from procession import NotPicklable, isolated, parallel

own_hooks.install()
import hooked, hooked_helper, of_no_file

def told(call):
    try: return call()
    except NotPicklable as error: return str(error)

for function, result in ((hooked.f, "checked"), (hooked_helper.f, 3), (of_no_file.f, 3)):
    assert function(2) == result, function(2)
    clean = {"context": "forkserver"}  # a copy of this program has the hook, too
    for text in (told(lambda: parallel(workers=1, **clean)(function).submit(2).result()),
            told(lambda: isolated(**clean)(function)(2))):
        assert "own_hooks." in text and "initializer=" in text, text
    with_hook = parallel(workers=1, initializer=own_hooks.install, **clean)(function)
    assert with_hook.submit(2).result() == result
print("fine")
"""


def test_hooks_that_workers_do_not_have(tmp_path: Path) -> None:
    """A loader that changes code, and a finder of the program's own, are named with the mend."""
    (tmp_path / "own_hooks.py").write_text(HOOKS)
    (tmp_path / "hooked.py").write_text('def f(x): return "unchecked"\n')
    (tmp_path / "hooked_helper.py").write_text(
        'def g(): return "unchecked"\ndef f(x): return x + (g() == "checked")\n'
    )
    assert run_script(tmp_path, SCRIPT) == "fine\n"


def test_relative_path_entries(tmp_path: Path) -> None:
    """An entry of sys.path that is relative means the folder in which it was used."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "relative_module.py").write_text("def f(x): return x + 1\n")
    script = f"""
import os, sys
os.chdir({str(tmp_path)!r})
sys.path.insert(0, "below")
import relative_module
os.chdir("/")
from procession import isolated, parallel
assert parallel(workers=1)(relative_module.f).submit(1).result() == 2
assert isolated(relative_module.f)(1) == 2
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_asserts_that_pytest_has_rewritten(tmp_path: Path) -> None:
    """A test module's function with an assert is the same function in a worker."""
    (tmp_path / "test_rewritten.py").write_text(
        "from procession import parallel\n"
        "@parallel(workers=1)\n"
        "def checked(x):\n"
        "    assert x, 'not true'\n"
        "    return x\n"
        "def test_it():\n"
        "    assert checked.submit(1).result() == 1\n"
    )
    text = (
        "import sys, pytest\n"
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '--rootdir', {str(tmp_path)!r}, "
        f"{str(tmp_path / 'test_rewritten.py')!r}]))\n"
    )
    assert "1 passed" in run_script(tmp_path, text, "run.py")
