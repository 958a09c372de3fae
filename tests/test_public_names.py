"""The public names, written out: none is lost, none comes by accident, each has a known type."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import (
    background,
    isolated,
    parallel,
    parallel_chunks,
    parallel_map,
    shared,
    testing,
    typing,
)
from tests.support.project import ROOT

TOP = """
    parallel parallel_map parallel_chunks background isolated
    Options configure options
    Future gather as_completed wait Pool Outcome
    current_task per_worker usable_cpus shutdown stats
    Profile profile shared testing
    ProcessionError OptionError NotPicklable WorkerDied TaskExited TimedOut DeadlineExceeded
    Overloaded MemoryLimitExceeded NestedParallelism BackendUnavailable PoolClosed ParallelWarning
"""
SHARED = """
    put array zeros
    Value Array Synchronized SynchronizedArray SynchronizedString
    Lock RLock Semaphore BoundedSemaphore Event Condition Barrier
    Queue Pipe Connection Dict List Namespace
"""
TYPING = "Background Core Decorated Isolated Parallel ParallelChunks ParallelMap"
VERBS = """
    local submit map starmap imap imap_unordered outcomes map_async aimap with_options options
"""


@pytest.mark.parametrize(
    ("module", "names"),
    [(procession, TOP), (shared, SHARED), (testing, "inline strict"), (typing, TYPING)],
)
def test_names(module: Any, names: str) -> None:
    """Each is in `__all__`, and there."""
    assert sorted(module.__all__) == sorted(names.split())
    for name in names.split():
        assert getattr(module, name) is not None, name
        assert name in dir(module)


def test_names_stay_when_submodules_are_imported() -> None:
    """No public name is a submodule's, which would take its place when it is imported."""
    before = {name: getattr(procession, name) for name in TOP.split()}
    for each in pkgutil.walk_packages(procession.__path__, "procession."):
        if not each.name.endswith((".__main__", ".pytest_isolation.bootstrap")):
            importlib.import_module(each.name)
    assert {name: getattr(procession, name) for name in TOP.split()} == before


DECORATORS: list[Any] = [parallel, parallel_map, parallel_chunks, background, isolated]


class Held:
    """With a method of each kind."""

    @parallel
    def method(self, number: int) -> int:
        """A method."""
        return number

    @parallel
    @classmethod
    def of_class(cls, number: int) -> int:
        """A classmethod."""
        return number

    @parallel
    @staticmethod
    def static(number: int) -> int:
        """A staticmethod."""
        return number


@pytest.mark.parametrize(
    "decorated",
    [
        *(each(abs) for each in DECORATORS),
        *(Held().method, Held.of_class, Held.static, Held.method),
    ],
)
def test_every_decorated_function_has_the_verbs(decorated: Any) -> None:
    """Whichever decorator, and however it is bound."""
    for verb in VERBS.split():
        assert hasattr(decorated, verb), verb
        assert verb in dir(decorated)
        if verb not in ("local", "options"):
            assert getattr(type(decorated), verb).__doc__


def _homes() -> set[str]:
    """The public names, and where what they mean is defined."""
    found: set[str] = set()
    for module in (procession, shared, testing, typing):
        for name in module.__all__:
            value = getattr(module, name)
            found.add(f"{module.__name__}.{name}")
            if hasattr(value, "__qualname__"):
                found.add(f"{value.__module__}.{value.__qualname__}")
    return found


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``pyright --verifytypes`` says of the package."""
    folder = os.path.dirname(sys.executable)
    pyright = shutil.which("pyright", path=os.pathsep.join([folder, os.environ.get("PATH", "")]))
    if pyright is None:
        pytest.skip("pyright is not installed")
    site = tmp_path_factory.mktemp("site")
    # An editable install is none to pyright, which looks for py.typed among what is installed.
    (site / "procession").symlink_to(Path(procession.__file__).parent)
    path = os.pathsep.join([str(site), *sys.path[1:]])
    command = [pyright, "--pythonpath", sys.executable, "--verifytypes", "procession"]
    done = subprocess.run(
        [*command, "--ignoreexternal", "--outputjson"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        cwd=site,
        env={**os.environ, "PYTHONPATH": path},
    )
    told: dict[str, Any] = json.loads(done.stdout)["typeCompleteness"]
    assert told.get("pyTypedPath"), done.stdout
    return told


def test_every_public_name_has_a_known_type(verified: dict[str, Any]) -> None:
    """Also to a checker that infers nothing: all that users reach is annotated."""
    homes = _homes()
    wrong = {
        each["name"]: [one["message"] for one in each["diagnostics"]]
        for each in verified["symbols"]
        if each["name"] in homes or each["name"].rpartition(".")[0] in homes
        # Not where a name that users do not reach is only inferred, in something that is annotated.
        if any("partially unknown" not in one["message"] for one in each["diagnostics"])
    }
    seen = {each["name"] for each in verified["symbols"]}
    assert {f"procession.{name}" for name in TOP.split()} - seen <= {
        "procession.shared",
        "procession.testing",
    }
    assert not wrong, json.dumps(wrong, indent=1)


def test_the_package_is_typed() -> None:
    """What makes checkers read the annotations is part of the package."""
    assert (ROOT / "src" / "procession" / "py.typed").exists()
