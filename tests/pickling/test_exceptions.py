"""Exceptions on their way home."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import pytest

from procession.errors import NotPicklable, TimedOut
from procession.pickling.exceptions import (
    dump_exception,
    load_exception,
    own_copy,
)
from procession.pickling.notes import add_item_note, add_note
from tests.support import things
from tests.support.far import Far


def raised(error: BaseException, cause: BaseException | None = None) -> Any:
    """The exception, after it was raised and caught."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def again(error: BaseException) -> Any:
    """The exception, after a round trip."""
    return load_exception(dump_exception(error))


def test_two_argument_constructors() -> None:
    """The constructor is not called again, so any signature will do."""
    copy = again(raised(things.TwoArguments(3, "bad")))
    assert type(copy) is things.TwoArguments
    assert (copy.code, str(copy), copy.args) == (3, "bad (3)", ("bad (3)",))
    copy = again(things.KeywordOnly(reason="because"))
    assert isinstance(copy, things.KeywordOnly)
    assert (copy.slot, str(copy)) == ("because", "because")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("k"),
        SystemExit(3),
        StopIteration(4),
        ImportError("no", name="n", path="p"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        SyntaxError("bad", ("file.py", 1, 2, "text", 1, 3)),
        FileNotFoundError(2, "nothing", "file.txt"),
        OSError("only text"),
        AttributeError("no such", name="n", obj=3),
        things.FrozenError(5),
        things.OddOSError("there", attempt=2),
        TimedOut("late", seconds=1.5, index=3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_builtin_state(error: BaseException) -> None:
    """What builtin exceptions keep in C arrives, for subclasses too."""
    copy: Any = again(raised(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert copy.__traceback__ is not None
    for name in ("code", "value", "name", "path", "object", "filename", "lineno", "errno", "index"):
        assert getattr(copy, name, None) == getattr(error, name, None)


def test_attribute_that_cannot_be_sent() -> None:
    """It is left out of the copy, and a note says which; the rest arrives."""
    copy: Any = again(raised(things.HoldsLock("oh")))
    assert type(copy) is things.HoldsLock
    assert copy.kept == [1, 2]
    assert not hasattr(copy, "lock")
    assert any("error.lock, a _thread.lock" in note for note in copy.__notes__)


def test_argument_that_cannot_be_sent() -> None:
    """It is replaced by its repr, and a note says so."""
    import threading

    copy: Any = again(ValueError("a", threading.Lock(), 2))
    assert copy.args[0] == "a"
    assert copy.args[1].startswith("<unlocked _thread.lock")
    assert copy.args[2] == 2
    assert any("error.args[1]" in note for note in copy.__notes__)


def test_reduce_that_lies() -> None:
    """An exception whose own pickling makes something else is taken apart instead."""
    assert type(again(raised(things.LyingError("x")))) is things.LyingError
    assert type(again(raised(things.RefusesToLoad("x")))) is things.RefusesToLoad


def test_causes_contexts_and_notes() -> None:
    """Chains arrive whole, each with its own traceback."""
    cause = raised(things.TwoArguments(1, "first"))
    error = raised(KeyError("second"), cause)
    error.add_note("a note")
    copy = again(error)
    assert type(copy.__cause__) is things.TwoArguments
    assert copy.__notes__ == ["a note"]
    assert copy.__suppress_context__
    assert copy.__cause__.__traceback__ is not None
    with pytest.raises(KeyError) as caught:
        raise_in_context()
    assert type(again(caught.value).__context__) is ValueError


def raise_in_context() -> None:
    """Raises while it handles another exception."""
    try:
        raise ValueError("inner")
    except ValueError:
        raise KeyError("outer")  # noqa: B904


def test_groups() -> None:
    """Groups arrive with their members, whatever these need."""
    inner = ExceptionGroup("inner", [raised(things.TwoArguments(1, "x"))])
    error = raised(things.Group("many", [raised(KeyError(1)), inner, things.HoldsLock("y")]))
    copy: Any = again(error)
    assert type(copy) is things.Group
    assert copy.message == "many"
    assert [type(one) for one in copy.exceptions] == [KeyError, ExceptionGroup, things.HoldsLock]
    assert copy.exceptions[0].__traceback__ is not None
    members: Any = copy.exceptions
    assert members[1].exceptions[0].code == 1
    found, _ = copy.split(KeyError)
    assert found is not None
    assert found.exceptions[0].args == (1,)


def test_cycles() -> None:
    """Exceptions that are each other's context are no trouble."""
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    copy = again(one)
    assert copy.__context__ is not None
    assert copy.__context__.__context__ is copy


def test_lines_are_shown() -> None:
    """The remote traceback prints with its source lines and carets, as it did there."""
    with Far() as far:
        with pytest.raises(ZeroDivisionError) as caught:
            far.call(things.fail, 3)
    text = "".join(traceback.format_exception(caught.value))
    assert "things.py" in text
    assert "in fail\n    return number / 0\n           ~~~~~~~^~~\n" in text


def test_same_text_as_in_the_worker() -> None:
    """A rebuilt traceback is printed exactly as the original, caller's frames aside."""
    error = raised(KeyError("second"), raised(things.TwoArguments(1, "first")))
    assert traceback.format_exception(again(error)) == traceback.format_exception(error)


def test_deep_recursion_is_cut() -> None:
    """A thousand equal frames do not travel."""

    def recurse() -> None:
        recurse()

    try:
        recurse()
    except RecursionError as error:
        blob = dump_exception(error)
        assert len(blob) < 20_000
        assert type(load_exception(blob)) is RecursionError


class BadStr(Exception):
    """Its text cannot be had, and neither can its class there."""

    def __str__(self) -> str:
        raise ValueError("no text")


def test_str_that_raises() -> None:
    """An exception without a text arrives too."""
    assert type(again(raised(BadStr("x")))) is BadStr


def test_stand_in_when_the_class_cannot_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be rebuilt becomes an honest error with type, text and traceback."""
    blob = dump_exception(raised(things.TwoArguments(1, "lost")))
    monkeypatch.delattr(things, "TwoArguments")
    copy = load_exception(blob)
    assert isinstance(copy, NotPicklable)
    assert copy.where == "exception"
    assert copy.culprit == "tests.support.things.TwoArguments"
    assert "lost (1)" in str(copy)
    assert "test_exceptions.py" in str(copy)
    assert isinstance(pickle.loads(pickle.dumps(copy)), NotPicklable)


class NewRefuses(type):
    """A metaclass whose classes cannot be pickled."""


def test_stand_in_when_it_cannot_be_pickled() -> None:
    """A class that cannot be sent at all gives the honest error in the worker already."""
    import threading

    cls = type("Unsendable", (Exception,), {"lock": threading.Lock(), "__module__": "__main__"})
    copy = again(raised(cls("text")))
    assert isinstance(copy, NotPicklable)
    assert "text" in str(copy)
    assert "Traceback (most recent call last)" in str(copy)


class HugeRepr:
    """Its repr is very long."""

    def __repr__(self) -> str:
        return "x" * 1_000_000


class BrokenRepr:
    """Its repr raises something that is no Exception."""

    def __repr__(self) -> str:
        raise SystemExit(1)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("a.txt", "work() was running item 17: 'a.txt'"),
        (HugeRepr(), "xxx"),
        (BrokenRepr(), "whose repr raised SystemExit"),
        (b"x" * 10_000_000, "(10000000 bytes)"),
        ([list(range(10_000))] * 1000, "[[0, 1, 2, 3, 4, 5, ...]"),
    ],
    ids=["plain", "huge", "broken", "bytes", "list"],
)
def test_notes_name_the_item(item: Any, text: str) -> None:
    """The note names function, index and item, in few characters, whatever repr does."""
    error = ValueError("x")
    add_item_note(error, "work", 17, item)
    add_item_note(error, "work", 17, item)
    (note,) = error.__notes__
    assert text in note
    assert len(note) < 150


def test_note_on_an_exception_that_refuses_notes() -> None:
    """Frozen exceptions get their note too."""
    error = things.FrozenError(1)
    add_item_note(error, "work", None, ((3,), {}))
    assert error.__notes__ == ["work(3) was running"]


class Forgetful(Exception):
    """Its own way of pickling leaves out what it was raised with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code

    def __reduce__(self) -> Any:
        return _bare, (type(self),), self.__dict__


def _bare(cls: type[Exception]) -> Exception:
    return cls.__new__(cls)


def test_own_reduce_that_loses_the_arguments() -> None:
    """What an exception was raised with arrives, whatever its own ``__reduce__`` does."""
    back = load_exception(dump_exception(Forgetful("no such key", 3)))
    assert type(back) is Forgetful
    assert back.args == ("no such key", 3)
    assert back.code == 3


class Opaque(Exception):
    """No attribute can be read."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_an_error_whose_attributes_cannot_be_read() -> None:
    """A `NotPicklable` that names it arrives in its place."""
    error = load_exception(dump_exception(Opaque()))
    assert isinstance(error, NotPicklable)
    assert "Opaque" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        things.FrozenError(5),
        things.TwoArguments(3, "bad"),
        ExceptionGroup("several", [ValueError(1), KeyError(2)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_copy_of_an_error(error: BaseException) -> None:
    """Whatever its constructor takes, it can be copied, and has notes of its own."""
    add_note(error, "of both")
    copied = own_copy(raised(error, cause=OSError("why")))
    assert copied is not error
    assert (type(copied), copied.args, str(copied)) == (type(error), error.args, str(error))
    assert isinstance(copied.__cause__, OSError)
    add_note(copied, "of the copy")
    assert (error.__notes__, copied.__notes__) == (["of both"], ["of both", "of the copy"])
