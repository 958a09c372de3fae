"""What an import costs, counted in modules, and which names the package gives."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import procession

HEAVY = {"asyncio", "cloudpickle", "loky", "multiprocessing", "numpy", "tqdm"}
DECORATE = """
from procession import parallel_map

@parallel_map
def double(number):
    return 2 * number
"""
NAMES = (
    "import procession\nvalues = {name: getattr(procession, name) for name in procession.__all__}\n"
)
IMPORT_EVERYTHING = """
import importlib, pkgutil
for module in pkgutil.walk_packages(procession.__path__, "procession."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def run(code: str) -> str:
    """Run code in a new interpreter; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(code: str) -> set[str]:
    """The modules that code loads in a new interpreter, beyond those it starts with."""
    report = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    modules: set[str] = set(json.loads(run(code + report).splitlines()[-1]))
    return modules - set(json.loads(run("import json, sys\nprint(json.dumps(list(sys.modules)))")))


def test_importing_the_package_loads_nothing_else() -> None:
    """`import procession` loads one module: far below wrapt's cost plus 30 ms."""
    assert loaded("import procession") - {"json"} == {"procession"}


def test_naming_a_decorator_loads_no_library() -> None:
    """Until a function is decorated neither wrapt nor the options are loaded."""
    ours = {m for m in loaded("from procession import parallel_map") if m.startswith("proc")}

    assert ours == {"procession", "procession.decorators", "procession.hints"}
    assert "wrapt" not in loaded("from procession import parallel_map, isolated")


def test_decorating_loads_nothing_heavy_beyond_wrapt() -> None:
    """A decorated function needs wrapt; what only a pool needs waits for the first pool."""
    assert HEAVY.isdisjoint(loaded(DECORATE) - loaded("import wrapt"))


def test_decorating_loads_none_of_what_is_slow() -> None:
    """What takes milliseconds by itself waits until something needs it."""
    slow = {"typing", "re", "inspect", "dataclasses", "pickle", "enum", "logging", "traceback"}

    assert slow.isdisjoint(loaded(DECORATE))
    assert {"wrapt", "concurrent.futures"}.isdisjoint(loaded(DECORATE))


def test_decorating_loads_few_modules() -> None:
    """Each takes 0.3 ms, or 1 ms where no bytecode is kept."""
    assert len(loaded(DECORATE)) <= 75


def test_a_first_map_loads_nothing_that_a_pool_needs() -> None:
    """A script's short map takes a dozen modules more: no pickler, no reactor, no backend."""
    tiny = loaded(DECORATE + "assert double(range(10))[-1] == 18\n")
    slow = {*HEAVY, "typing", "re", "inspect", "pickle", "enum", "logging", "selectors", "mmap"}

    assert slow.isdisjoint(tiny)
    pools = ("procession.backends", "procession.process.pool", "procession.process.start")
    assert not [m for m in tiny if m.startswith(pools)]
    assert len(tiny - loaded(DECORATE)) <= 20


FIRST_POOL = """
import sys
from procession import parallel

@parallel(backend="process")
def ours(_):
    return sum(name.partition(".")[0] == "procession" for name in sys.modules)

there = ours.map(["a", "b"])[0]
print(ours.local(""), there)
"""


def test_a_first_pool_loads_few_modules_of_ours() -> None:
    """A script waits for each of them twice: some 0.3 ms here, and again where its workers are."""
    here, there = map(int, run(FIRST_POOL).split())
    assert here <= 150
    assert there <= 72


def test_no_public_name_loads_an_optional_or_pool_library() -> None:
    """Naming everything that is public loads no array library, no pool and no pickler."""
    assert (HEAVY - {"multiprocessing"}).isdisjoint(loaded(NAMES) - loaded("import wrapt"))


def test_a_worker_needs_neither_wrapt_nor_asyncio() -> None:
    """What runs items on the far side starts fast."""
    assert {"wrapt", "asyncio", "numpy"}.isdisjoint(loaded("import procession.worker.runner"))


def test_every_public_name_is_there() -> None:
    """`__all__` holds each name once, and each can be had and is listed by dir()."""
    names = procession.__all__

    assert len(set(names)) == len(names)
    assert [name for name in names if getattr(procession, name, None) is None] == []
    assert set(names) <= set(dir(procession))


def test_no_submodule_takes_a_public_name() -> None:
    """Importing every submodule rebinds no public name (a submodule becomes an attribute)."""
    check = "print([name for name in values if getattr(procession, name) is not values[name]])"

    assert run(NAMES + IMPORT_EVERYTHING + check).strip() == "[]"
    late = "import procession\n" + IMPORT_EVERYTHING + NAMES
    modules = (
        "import types\nprint([n for n, v in values.items() if isinstance(v, types.ModuleType)])"
    )
    assert run(late + modules).strip() == "['shared', 'testing']"


def test_star_import_gives_the_public_names() -> None:
    """`from procession import *` works, lazily as the names are."""
    code = "from procession import *\nimport procession\n"

    assert run(code + "print(set(procession.__all__) - set(globals()))").strip() == "set()"


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name is refused as on every module."""
    with pytest.raises(AttributeError, match="has no attribute 'paralel_map'"):
        procession.paralel_map  # type: ignore[attr-defined]  # noqa: B018
