"""What the errors say."""

from __future__ import annotations

import functools
import pickle
import threading
from typing import Any

import pytest

from procession import parallel
from procession.errors import NotPicklable, Where
from procession.explaining.explain import explain, explain_call
from procession.explaining.unloadable import explain_unloadable, locate
from procession.pickling.pickler import dumps, loads
from tests.support import things


def failure(obj: Any) -> BaseException:
    """What pickling raises."""
    with pytest.raises(Exception) as caught:
        dumps(obj)
    return caught.value


def test_message_of_the_documentation() -> None:
    """The documented example reads exactly as documented."""
    job = things.Job(threading.Lock())
    error = explain(failure(job), job, where="argument", function="word_count", root="job")
    assert str(error) == (
        "word_count() cannot be sent to a worker: argument 'job' holds a threading.Lock\n"
        "  job.store._cache['lru'][2]  →  _thread.lock\n"
        "A lock belongs to the process that made it. Create it inside the function, leave it out "
        "in\nStore.__getstate__, or pass procession.shared.Lock()."
    )


@pytest.mark.parametrize(
    ("where", "head"),
    [
        ("argument", "work() cannot be sent to a worker: argument 'x' holds a threading.Lock\n"),
        ("function", "work() cannot be sent to a worker: it holds a threading.Lock\n"),
        ("result", "the result of work() cannot be sent back: it holds a threading.Lock\n"),
        (
            "exception",
            "the exception that work() raised cannot be sent back: it holds a threading.Lock\n",
        ),
    ],
)
def test_head_says_what_was_to_cross(where: Where, head: str) -> None:
    """The first line tells arguments, functions, results and exceptions apart."""
    value = [threading.Lock()]
    error = explain(failure(value), value, where=where, function="work", root="x")
    assert str(error).startswith(head)
    assert error.where == where


def target(first: Any, *rest: Any, key: Any = None, **others: Any) -> None:
    """Takes arguments of every kind."""


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("args", "kwargs", "path", "name"),
    [
        ((LOCK,), {}, "first", "first"),
        ((1, 2, LOCK), {}, "rest[1]", "rest"),
        ((1,), {"key": [LOCK]}, "key[0]", "key"),
        ((1,), {"other": LOCK}, "others['other']", "others"),
        (([1, {"a": LOCK}],), {}, "first[1]['a']", "first"),
    ],
)
def test_parameters_are_named(args: Any, kwargs: Any, path: str, name: str) -> None:
    """The path starts with the parameter's own name."""
    error = explain_call(failure((args, kwargs)), args, kwargs, target=target, function="target")
    assert error.path == path
    assert f"argument {name!r}" in str(error)


def test_wrong_calls_and_targets_without_signature() -> None:
    """Where no parameter can be named, the position is."""
    value = [LOCK]
    error = explain_call(failure(value), (1, 2, LOCK), {}, target=things.double, function="double")
    assert error.path == "args[2]"
    error = explain_call(failure(value), (LOCK,), {}, target=max, function="max")
    assert error.path == "args[0]"
    part = functools.partial(target, 1)
    error = explain_call(failure(value), (2, LOCK), {}, target=part, function="target")
    assert error.path == "rest[1]"


def test_culprits_in_several_arguments() -> None:
    """The nearest is named first, and all are listed."""
    args = ([[LOCK]], threading.Event(), {"a": threading.Lock()})
    error = explain_call(failure(args), args, {}, target=target, function="target")
    assert error.path == "rest[0]"
    assert "first[0][0]" in str(error)
    assert "rest[1]['a']" in str(error)


def test_owner_is_the_nearest_class_of_the_user() -> None:
    """The mend names the class that could leave the culprit out, or none."""
    value = {"a": things.Box([threading.Lock()])}
    error = explain(failure(value), value, where="argument", function="f", root="x")
    assert "leave it out in Box.__getstate__" in " ".join(str(error).split())
    error = explain(failure([LOCK]), [LOCK], where="argument", function="f", root="x")
    assert "__getstate__" not in str(error)


def test_error_of_the_users_own_reduce() -> None:
    """What a ``__reduce__`` raised is told, with its class."""
    value = things.RaisesInReduce()
    error = explain(failure(value), value, where="argument", function="f", root="x")
    assert "RaisesInReduce.__reduce__ raised ValueError: not today." in str(error)


def test_in_an_annotation() -> None:
    """A function that goes by value takes the classes along that it is annotated with."""

    class Box:
        guard = LOCK

    def takes(box: Any) -> None:
        pass

    takes.__annotations__["box"] = Box
    with pytest.raises(NotPicklable) as caught:
        parallel(takes, inline=False, pickling="by-value").map([1])
    assert caught.value.path == "takes.__annotations__['box'].guard"


def test_unknown_culprit() -> None:
    """If nothing is to blame by itself, the original error is told."""
    error = explain(OSError("odd"), [1], where="argument", function="f", root="x")
    assert "Pickling it raised OSError: odd." in str(error)
    assert error.path == "x"


def test_what_cannot_be_rebuilt_there() -> None:
    """An object whose pickle is fine, and that cannot be loaded, is told, and located here."""
    job = {"a": [things.FailsThere()]}
    with pytest.raises(RuntimeError) as caught:
        loads(dumps(job))
    error = explain_unloadable(caught.value, where="argument", function="f", root="job")
    assert error.culprit == "tests.support.things.FailsThere"
    assert "could not be rebuilt in the worker" in str(error)
    error = locate(pickle.loads(pickle.dumps(error)), [("job", job)])
    assert error.path == "job['a'][0]"
    assert "  job['a'][0]  →  tests.support.things.FailsThere\n" in str(error)


def test_constructor_that_asks_for_more() -> None:
    """The class is found where only the message of the error names it."""

    class Strange(Exception):
        def __init__(self, one: int, two: int) -> None: ...

    with pytest.raises(TypeError) as caught:
        Strange(1)  # type: ignore[call-arg]
    error = explain_unloadable(caught.value, where="argument", function="f", root="job")
    assert error.culprit.endswith("Strange")
    other = NotPicklable("x", culprit="Nothing.like.this")
    assert locate(other, [("job", [1])]) is other


def test_missing_module_there() -> None:
    """A module that the worker lacks is told as such."""
    with pytest.raises(ImportError) as caught:
        loads(pickle.dumps(things.Box(1)).replace(b"tests.support.things", b"tests.support.absent"))
    error = explain_unloadable(caught.value, where="result", function="f", root="result")
    assert "Make that module importable here" in " ".join(str(error).split())
    assert str(error).startswith("the result of f() was pickled, but could not be rebuilt here")


def test_no_getstate_for_what_sits_in_code() -> None:
    """A lock that a function or class holds cannot be left out by an object's getstate."""
    value = things.Box(things.closure(threading.Lock()))
    with pytest.raises(Exception) as caught:
        dumps(value, "by-value")
    error = explain(
        caught.value, value, where="argument", function="f", root="x", pickling="by-value"
    )
    assert error.path == "x.value.__closure__[0].cell_contents"
    assert "__getstate__" not in str(error)


def test_mend_for_results() -> None:
    """What comes back is not made inside the function instead: it is made there already."""
    value = things.Box(threading.Lock())
    error = explain(failure(value), value, where="result", function="f", root="result")
    assert "Return what the caller needs of it instead" in str(error)
