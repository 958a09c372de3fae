"""Calls of several threads that coincide: nothing half known is taken for an answer."""

from __future__ import annotations

import copyreg
import importlib.machinery
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from procession.forwarding import outgoing
from procession.functions import packed_function as functions
from procession.functions.packed_function import dump_watched
from procession.pickling import importable as importing
from procession.pickling.dispatch_tables import Table
from procession.pickling.freshness import watch
from tests.support import far, things

PATIENCE = 10.0


class Gate:
    """Stops whoever passes first until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def pass_through(self) -> None:
        """Wait here, the first time."""
        if not self.reached.is_set():
            self.reached.set()
            assert self.open.wait(PATIENCE)


def meanwhile(slow: Callable[[], Any], gate: Gate, fast: Callable[[], Any]) -> tuple[Any, Any]:
    """What `slow` gives in another thread and, while that stands at the gate, `fast` in this."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(slow()))
    thread.start()
    try:
        assert gate.reached.wait(PATIENCE)
        here = fast()
    finally:
        gate.open.set()
        thread.join(PATIENCE)
    return results[0], here


class Finder:
    """A finder that takes its time for one module."""

    def __init__(self, gate: Gate, name: str) -> None:
        self.gate = gate
        self.name = name

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find nothing, late."""
        if name == self.name:
            self.gate.pass_through()
        return None


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of any module."""
    monkeypatch.setattr(importing, "_answers", importing._Answers(list(sys.path)))


@pytest.mark.usefixtures("answers")
def test_search_for_a_module_that_another_thread_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is being looked for is not taken for one that is not found."""
    gate = Gate()
    monkeypatch.setattr(sys, "meta_path", [Finder(gate, "tests.support"), *sys.meta_path])
    found = meanwhile(
        lambda: importing.importable(things.__name__),
        gate,
        lambda: importing.importable(far.__name__),
    )
    assert found == (True, True)


@pytest.mark.usefixtures("answers")
def test_path_that_changes_during_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found for the old path is no answer for the new one."""
    gate = Gate()
    monkeypatch.setattr(sys, "meta_path", [Finder(gate, "tests"), *sys.meta_path])
    monkeypatch.setattr(sys, "path", list(sys.path))

    def change() -> None:
        sys.path.append("/nowhere/at/all")
        importing.refresh()

    meanwhile(lambda: importing.importable(things.__name__), gate, change)
    assert things.__name__ not in importing._answers.known


@pytest.mark.usefixtures("answers")
def test_marks_of_modules_that_another_thread_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that pickle at the same time both know what cannot be imported."""
    gate = Gate()
    monkeypatch.setattr(sys, "meta_path", [Finder(gate, "made_by_hand"), *sys.meta_path])
    monkeypatch.setitem(sys.modules, "made_by_hand", type(sys)("made_by_hand"))
    slow, fast = meanwhile(importing.unimportable_marks, gate, importing.unimportable_marks)
    assert any(b"made_by_hand" in mark for mark in slow)
    assert any(b"made_by_hand" in mark for mark in fast)
    assert importing.unimportable_marks() == slow


@pytest.mark.usefixtures("answers")
def test_marks_when_one_module_comes_and_another_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many modules as before are not the same modules."""
    monkeypatch.setitem(sys.modules, "goes", sys.modules["pytest"])
    importing.unimportable_marks()
    monkeypatch.delitem(sys.modules, "goes")
    monkeypatch.setitem(sys.modules, "made_by_hand", type(sys)("made_by_hand"))
    assert any(b"made_by_hand" in mark for mark in importing.unimportable_marks())


def test_type_that_is_registered_while_it_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict that was out of date before it was noted is not kept."""

    class Thing:
        pass

    gate = Gate()

    def judge(cls: type) -> None:
        if cls is Thing:
            gate.pass_through()

    table = Table(named=False, extra=judge)
    table.keep_in_step()
    monkeypatch.setattr(copyreg, "dispatch_table", dict(copyreg.dispatch_table))

    def register() -> None:
        copyreg.pickle(Thing, reduce_thing)
        table.keep_in_step()

    meanwhile(lambda: table[Thing], gate, register)
    assert table[Thing] is reduce_thing


def reduce_thing(obj: object) -> Any:
    """A reducer of the user's."""
    return str, ()


@pytest.mark.parametrize(
    ("step", "value"),
    [("plain_function", "value"), ("_dump_value", "value, Local")],
    ids=["plain", "by cloudpickle"],
)
def test_global_that_changes_while_a_function_is_pickled(step: str, value: str) -> None:
    """What was pickled before a change is not sent after it."""
    gate = Gate()
    space: dict[str, Any] = {"__name__": "__main__", "value": 1}
    exec(f"class Local: pass\ndef f(): return {value}", space)

    def change() -> None:
        space["value"] = 2

    (_, watching), _ = meanwhile(lambda: dump_slowly(space["f"], gate, step), gate, change)
    assert watching is None or not watching.holds()


def dump_slowly(function: Any, gate: Gate, step: str) -> Any:
    """Pickle a function, and stop when it is pickled and not yet noted."""
    with pytest.MonkeyPatch.context() as patch:
        usual = getattr(functions, step)

        def slow(*args: Any) -> Any:
            taken = usual(*args)
            gate.pass_through()
            return taken

        patch.setattr(functions, step, slow)
        return dump_watched(function, None, "strict")


def test_level_that_is_set_while_levels_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A level that was set during the reading is read the next time."""
    gate = Gate()

    class Slowly(logging.Logger):
        @property
        def level(self) -> int:
            """Its level, late."""
            gate.pass_through()
            return 0

        @level.setter
        def level(self, value: int) -> None:
            pass

    monkeypatch.setattr(outgoing, "_levels", (None, ({}, 0)))
    loggers = logging.root.manager.loggerDict
    slow = Slowly("slow")
    monkeypatch.setitem(loggers, "slow", slow)
    later = logging.getLogger("coinciding")  # after it, or before: it was read as it was
    try:
        meanwhile(outgoing._logger_levels, gate, lambda: later.setLevel(33))
        found = outgoing._logger_levels()
        assert found is not None
        assert found[0]["coinciding"] == 33
    finally:
        later.setLevel(0)


def test_watch_notices_what_it_is_for() -> None:
    """A watch holds as long as the function's globals are the same objects."""
    space: dict[str, Any] = {"__name__": "__main__", "value": 1}
    exec("def f(): return value", space)
    watching = watch(space["f"], None)
    assert watching is not None
    assert watching.holds()
    space["value"] = 2
    assert not watching.holds()


def test_first_search_of_a_spec_is_not_half_done() -> None:
    """What finders give is what is noted."""
    answers = importing._Answers(list(sys.path))
    spec = importing._locate(things.__name__, answers)
    assert isinstance(spec, importlib.machinery.ModuleSpec)
    assert answers.specs[things.__name__] is spec
