"""What a worker takes over once a module is loaded, and not before."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import procession
from procession.system.import_hooks import when_loaded
from tests.system import quiet

NAME = "tests_awaited_module"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a module that can be imported, and has not been."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield tmp_path / f"{NAME}.py"
    sys.modules.pop(NAME, None)


def test_called_within_the_import(module: Path) -> None:
    """It is called once, when the module's code has run, and leaves no trace in the module."""
    module.write_text("value = 1\n")
    seen: list[int] = []

    def call() -> None:
        seen.append(sys.modules[NAME].value)

    when_loaded(NAME, call)
    when_loaded(NAME, call)
    assert not seen
    loaded = importlib.import_module(NAME)
    assert seen == [1]
    assert loaded.__spec__ is not None
    assert loaded.__loader__ is loaded.__spec__.loader
    assert type(loaded.__loader__).__module__.startswith("_frozen_importlib")
    when_loaded(NAME, call)
    assert seen == [1, 1]


def test_waits_for_an_import_that_works(module: Path) -> None:
    """An import that raises, or finds nothing, has not loaded it."""
    seen: list[str] = []
    when_loaded(NAME, lambda: seen.append("loaded"))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(NAME)
    module.write_text("1 / 0\n")
    importlib.invalidate_caches()
    with pytest.raises(ZeroDivisionError):
        importlib.import_module(NAME)
    assert not seen
    module.write_text("value = 'of another length'\n")
    importlib.import_module(NAME)
    assert seen == ["loaded"]


class _Importing:
    """A finder that imports, while it is asked: as another thread may meanwhile."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "tests_other_module":
            importlib.import_module(NAME)


def test_no_import_misses_a_finder(module: Path) -> None:
    """One that goes on while an awaited module is loaded asks all finders that there are."""
    module.write_text("value = 1\n")
    (module.parent / "tests_other_module.py").write_text("value = 2\n")
    seen: list[str] = []
    when_loaded(NAME, lambda: seen.append("loaded"))
    before_it_is_found = sys.meta_path.index(importlib.machinery.PathFinder)
    sys.meta_path.insert(before_it_is_found, _Importing())
    try:
        assert importlib.import_module("tests_other_module").value == 2
    finally:
        sys.modules.pop("tests_other_module", None)
    assert seen == ["loaded"]


@pytest.fixture
def fresh() -> Iterator[None]:
    """No spare process waits that another test has warmed; no filter names a library's warning."""
    procession.shutdown()
    with warnings.catch_warnings():
        own = [each for each in warnings.filters if each[2].__module__ == "builtins"]
        warnings.filters[:] = own  # type: ignore[index]
        yield
    procession.shutdown()


@pytest.mark.usefixtures("fresh")
def test_a_fresh_worker_loads_no_logging() -> None:
    """A worker whose items do not log has not loaded `logging`, though its caller has."""
    loaded = procession.isolated(context="spawn")(quiet.loaded)
    assert not loaded("logging")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("level", "heard"), [(logging.INFO, ["first"]), (logging.ERROR, [])])
def test_the_first_item_that_loads_logging(
    level: int, heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Levels and collecting are in force as soon as an item imports `logging` by itself."""
    log_late = procession.isolated(context="spawn")(quiet.log_late)
    with caplog.at_level(level, logger="tests.system.quiet"):
        assert not log_late("first")
    assert [record.getMessage() for record in caplog.records] == heard
