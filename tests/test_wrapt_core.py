"""wrapt's classes without wrapt's import: the same ones, and wrapt itself stays whole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

DECORATED = """
import sys
from procession import parallel_map

@parallel_map
def double(number):
    return 2 * number
"""


def run(code: str, **variables: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_decorating_loads_two_modules_of_wrapt_and_none_of_its_libraries() -> None:
    """Neither the package nor asyncio or inspect is loaded for the classes that bind."""
    code = "print(*sorted(m for m in sys.modules if m.split('.')[0] in ('wrapt', 'asyncio')))"

    assert run(DECORATED + code) in ("wrapt._wrappers wrapt.exceptions", "wrapt._wrappers")


def test_a_later_import_of_wrapt_is_whole() -> None:
    """It has all its names and modules, as attributes too, and the classes that we have."""
    check = """
import wrapt
assert isinstance(double, wrapt.FunctionWrapper)
modules = [n for n in sys.modules if n.startswith("wrapt.")]
assert all(getattr(wrapt, n.partition(".")[2]) is sys.modules[n] for n in modules), modules
assert "wrapt.wrappers" in modules and wrapt.wrappers is sys.modules["wrapt.wrappers"]

@wrapt.decorator
def twice(wrapped, instance, args, kwargs):
    return 2 * wrapped(*args, **kwargs)

assert twice(double)([1, 2]) == [2, 4, 2, 4]
print(*sorted(vars(wrapt)))
"""
    plain = "import wrapt\nprint(*sorted(vars(wrapt)))"

    assert set(run(DECORATED + check).split()) >= set(run(plain).split())


@pytest.mark.parametrize("first", ["import wrapt", "import wrapt._wrappers", "import asyncio"])
def test_what_the_program_imported_before_is_used(first: str) -> None:
    """A program that has wrapt, or asyncio, keeps the modules that it has."""
    check = """
import asyncio, wrapt
assert isinstance(double, wrapt.FunctionWrapper)
assert asyncio.run(asyncio.sleep(0, 7)) == 7
print(double([1, 2]))
"""
    assert run(f"{first}\n{DECORATED}{check}") == "[2, 4]"


def test_a_module_of_wrapt_can_be_imported_alone() -> None:
    """`import wrapt._wrappers` gives a package that has it."""
    check = "import wrapt._wrappers\nprint(wrapt._wrappers is sys.modules['wrapt._wrappers'])"

    assert run(DECORATED + check) == "True"


def test_without_its_c_code_wrapt_is_imported_as_usual() -> None:
    """`WRAPT_DISABLE_EXTENSIONS` is honoured."""
    check = "import wrapt\nprint(isinstance(double, wrapt.FunctionWrapper), double([1]))"

    assert run(DECORATED + check, WRAPT_DISABLE_EXTENSIONS="1") == "True [2]"


def test_threads_import_wrapt_while_others_decorate() -> None:
    """Whichever thread is first, all of them see one whole wrapt, with the classes that bind."""
    code = """
import sys, threading
sys.setswitchinterval(1e-6)
start, wrong = threading.Barrier(8), []

def decorates():
    start.wait()
    from procession import parallel_map
    if parallel_map(len)([[1]]) != [1]:
        wrong.append("map")

def imports():
    start.wait()
    import wrapt
    from wrapt import FunctionWrapper, decorator
    if wrapt.wrappers is None or wrapt.FunctionWrapper is not FunctionWrapper:
        wrong.append("wrapt")

threads = [threading.Thread(target=run) for run in [decorates, imports] * 4]
[each.start() for each in threads]
[each.join() for each in threads]
import wrapt
from procession.function import Function
print(wrong, issubclass(Function, wrapt.FunctionWrapper))
"""
    for _ in range(3):
        assert run(code) == "[] True"
