"""What goes wrong goes wrong alone, arrives as itself, and says where it was."""

from __future__ import annotations

import asyncio
import pickle
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import NotPicklable, ParallelWarning, TaskExited
from tests.conformance import functions as f
from tests.conformance.places import Place, at
from tests.conformance.test_verbs import collect

LOCAL_EXPECTED = [0, 1, None, 9, 16]


def outcome_of(place: Place, how: str, **options: Any) -> Any:
    """Five items of which item 2 misbehaves: checks the other four, gives the bad outcome."""
    outcomes = list(at(place, f.misbehave, **options).outcomes(range(5), how))
    assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3, 4]
    assert [outcome.ok for outcome in outcomes] == [True, True, False, True, True]
    assert [o.value if o.ok else None for o in outcomes] == LOCAL_EXPECTED
    bad = outcomes[2]
    assert bad.item == 2
    assert bad.error is not None
    with pytest.raises(type(bad.error)):
        _ = bad.value
    assert at(place, f.square).map([1, 2]) == [1, 4], "the next call works"
    return bad


def notes_of(error: BaseException) -> str:
    """All notes of an error as one text."""
    return "\n".join(getattr(error, "__notes__", []))


# ------------------------------------------------------------- errors that the function raises


def test_an_error_arrives_as_itself(place: Place) -> None:
    """Same type, same arguments."""
    error = outcome_of(place, "raise").error
    assert type(error) is ValueError
    assert error.args == ("bad", 2)


def test_an_outcomes_traceback_begins_in_the_function(place: Place) -> None:
    """No line of Procession's own stands above those of the user."""
    error = list(at(place, f.misbehave).outcomes(range(5), "raise"))[2].error
    assert error is not None
    first = traceback.extract_tb(error.__traceback__)[0]
    assert first.filename == f.__file__


def test_the_note_names_function_index_and_item(place: Place) -> None:
    """Which item of which function: in a note, so that the error itself stays as it is."""
    notes = notes_of(outcome_of(place, "raise").error)
    assert "misbehave" in notes
    assert "2" in notes


def test_a_long_item_is_shortened_in_the_note(place: Place) -> None:
    """The note holds a short repr, not a megabyte."""
    (outcome,) = at(place, f.fails_for).outcomes(["x" * 1_000_000], "x" * 1_000_000)
    assert isinstance(outcome.error, ValueError)
    assert len(notes_of(outcome.error)) < 1000


def test_an_item_whose_repr_fails_does_not_hide_the_error(place: Place) -> None:
    """The note does without the repr then."""
    (outcome,) = at(place, f.not_a_number).outcomes([f.BadRepr()])
    assert isinstance(outcome.error, TypeError)


def test_the_remote_traceback_is_readable(processes: Place) -> None:
    """Printing the error shows the line of the function that raised, with its file."""
    error = outcome_of(processes, "raise from").error
    text = "".join(traceback.format_exception(error))
    assert "functions.py" in text
    assert "_raise_from" in text
    assert 'raise ValueError("the effect") from error' in text


def test_the_cause_arrives_too(place: Place) -> None:
    """`raise ... from ...` keeps its cause."""
    error = outcome_of(place, "raise from").error
    assert type(error) is ValueError
    text = "".join(traceback.format_exception(error))
    assert "the cause" in text
    assert "direct cause" in text


def test_the_user_s_own_notes_arrive(place: Place) -> None:
    """Notes added in the worker come along."""
    assert "a note of the user's" in notes_of(outcome_of(place, "raise with note").error)


def test_a_constructor_with_other_arguments(place: Place) -> None:
    """An exception whose constructor takes what `args` do not hold arrives whole."""
    error = outcome_of(place, "two arguments").error
    assert type(error) is f.TwoArguments
    assert (error.code, error.text) == (7, "seven")
    assert str(error) == "7: seven"


def test_an_exception_group(place: Place) -> None:
    """A group arrives with its members."""
    error = outcome_of(place, "group").error
    assert type(error) is ExceptionGroup
    assert [type(member) for member in error.exceptions] == [ValueError, TypeError]


@pytest.mark.parametrize("how", ["StopIteration", "StopAsyncIteration", "GeneratorExit"])
def test_errors_that_mean_something_to_iterators(place: Place, how: str) -> None:
    """An error that would end an iterator silently is an item's error like any other."""
    error = outcome_of(place, how).error
    assert how in f"{type(error).__name__} {error!r} {notes_of(error)}"


@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_program_in_the_future_of_a_pool(
    place: Place, how: type[BaseException]
) -> None:
    """A `Pool` is a standard executor: it arrives as itself."""
    options: Any = {**place.options, "workers": 1}
    with procession.Pool(**options) as pool:
        assert type(pool.submit(f.raise_made.__wrapped__, how).exception()) is how
        assert pool.submit(abs, -1).result() == 1


def test_stop_iteration_does_not_shorten_a_map(place: Place) -> None:
    """`list(imap)` must not be cut short by an item that raises StopIteration."""
    function = at(place, f.misbehave)
    with pytest.raises((StopIteration, RuntimeError)):
        function.map(range(5), "StopIteration")
    taken: list[int] = []
    with pytest.raises(RuntimeError):
        taken.extend(function.imap(range(5), "StopIteration"))
    assert taken == [0, 1]
    future = function.submit(2, "StopIteration")
    assert future.exception() is not None


def test_an_exception_that_cannot_be_pickled(processes: Place) -> None:
    """It arrives as itself, without what cannot be sent; a note names that."""
    error = outcome_of(processes, "unpicklable error").error
    assert type(error) is f.HoldsALock
    assert error.args == ("locked",)
    assert not hasattr(error, "lock")
    assert "error.lock" in notes_of(error)
    assert "_thread.lock" in notes_of(error)


def test_an_exception_that_cannot_be_rebuilt(processes: Place) -> None:
    """The worker tries it, and sends what can be sent."""
    error = outcome_of(processes, "error that cannot be rebuilt").error
    text = "".join(traceback.format_exception(error))
    assert "ErrorThatFailsToUnpickle" in text
    assert "broken" in text


@pytest.mark.parametrize(("how", "code"), [("SystemExit", 3), ("KeyboardInterrupt", None)])
def test_exits(place: Place, how: str, code: int | None) -> None:
    """`sys.exit` in an item neither ends the worker nor the caller."""
    if place.backend == "serial" and how == "KeyboardInterrupt":
        pytest.skip("in the caller's own thread it may be the caller's own Ctrl-C: see below")
    error = outcome_of(place, how).error
    assert isinstance(error, TaskExited)
    assert error.code == code
    assert how in str(error) or "sys.exit" in str(error)


def test_an_interrupt_that_an_item_raises_is_the_item_s() -> None:
    """Where items run in the caller's thread, an item's own KeyboardInterrupt is no Ctrl-C."""
    function = f.misbehave.with_options(backend="serial")
    with pytest.raises(TaskExited, match="KeyboardInterrupt"):
        function.map(range(5), "KeyboardInterrupt")
    assert function.map(range(2), "KeyboardInterrupt") == [0, 1]


def test_map_raises_the_first_error_in_order(place: Place) -> None:
    """`map` gives no list when an item fails, and raises the item's own error."""
    with pytest.raises(ValueError, match="item 3 is bad") as caught:
        at(place, f.fails_for).map(range(6), 3)
    assert "3" in notes_of(caught.value)


def test_imap_raises_where_the_bad_item_stands(place: Place) -> None:
    """Results before the bad item arrive first."""
    results = at(place, f.fails_for).imap(range(6), 3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3 is bad"):
        next(results)


def test_imap_unordered_raises(place: Place) -> None:
    """`imap_unordered` raises an item's error, too."""
    with pytest.raises(ValueError, match="item 3 is bad"):
        list(at(place, f.fails_for).imap_unordered(range(6), 3))


def test_submit_and_map_async_keep_the_error(place: Place) -> None:
    """The error is in the future, and can be asked for."""
    future = at(place, f.fails_for).submit(1, 1)
    assert isinstance(future.exception(), ValueError)
    with pytest.raises(ValueError, match="item 1 is bad"):
        future.result()
    with pytest.raises(ValueError, match="item 1 is bad"):
        at(place, f.fails_for).map_async(range(3), 1).result()


def test_aimap_raises(place: Place) -> None:
    """`async for` raises the item's error."""
    with pytest.raises(ValueError, match="item 1 is bad"):
        asyncio.run(collect(at(place, f.fails_for).aimap(range(3), 1)))


@pytest.mark.parametrize("verb", ["map", "imap", "imap_unordered", "map_async"])
def test_two_errors_in_a_row_are_two_objects(place: Place, verb: str) -> None:
    """An error is not shared between calls, so that its notes do not pile up."""

    def run() -> ValueError:
        try:
            results = getattr(at(place, f.fails_for), verb)(range(3), 1)
            list(results.result() if verb == "map_async" else results)
        except ValueError as error:
            return error
        raise AssertionError("no error")

    one, two = run(), run()
    assert one is not two
    assert notes_of(one) == notes_of(two)


# ------------------------------------------------------------------------ what cannot cross


def test_a_lock_deep_inside_an_argument(processes: Place) -> None:
    """The bad item fails alone, with the way to the lock."""
    items: list[Any] = [1, {"a": [0, threading.Lock()]}, 3]
    outcomes = list(at(processes, f.echo).outcomes(items))
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    error = outcomes[1].error
    assert isinstance(error, NotPicklable)
    assert error.where == "argument"
    assert error.path == "value['a'][1]"
    assert error.culprit == "_thread.lock"
    assert "echo" in str(error)


def test_a_lock_as_a_further_argument(processes: Place) -> None:
    """A bad argument that goes to every item is refused at once, by name."""
    with pytest.raises(NotPicklable, match="second") as caught:
        at(processes, f.pair).map([1, 2, 3], threading.Lock())
    assert caught.value.where == "argument"
    assert caught.value.path == "second"


def test_submit_keeps_the_error_for_its_argument(processes: Place) -> None:
    """`submit` never raises for its argument."""
    future = at(processes, f.echo).submit(threading.Lock())
    assert isinstance(future.exception(), NotPicklable)


def test_an_argument_that_fails_to_pickle(processes: Place) -> None:
    """The reason is the object's own words."""
    outcomes = list(at(processes, f.echo).outcomes([1, f.FailsToPickle(), 3]))
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, NotPicklable)
    assert "does not want to be pickled" in str(outcomes[1].error)


@pytest.mark.parametrize("make", [f.FailsToUnpickle, f.ExitsWhenUnpickled])
def test_an_argument_that_cannot_be_rebuilt(processes: Place, make: Callable[[], object]) -> None:
    """What fails in the worker before the function runs fails alone, too."""
    outcomes = list(at(processes, f.echo).outcomes([1, make(), 3]))
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert outcomes[1].error is not None
    assert at(processes, f.echo).map([1]) == [1]


@pytest.mark.parametrize("how", ["unpicklable result", "result that fails to pickle"])
def test_a_result_that_cannot_be_sent(processes: Place, how: str) -> None:
    """The bad result fails alone, and is called a result."""
    error = outcome_of(processes, how).error
    assert isinstance(error, NotPicklable)
    assert error.where == "result"


def test_a_result_that_exits_while_it_is_pickled(processes: Place) -> None:
    """`sys.exit` in a result's own pickling is an exit like any other: the worker lives on."""
    error = outcome_of(processes, "result that exits when pickled").error
    assert isinstance(error, TaskExited)
    assert error.code == 3


def test_a_result_that_cannot_be_rebuilt(processes: Place) -> None:
    """A result that breaks while it is unpickled breaks nothing else."""
    error = outcome_of(processes, "result that cannot be rebuilt").error
    text = "".join(traceback.format_exception(error))
    assert "cannot be rebuilt" in text


def test_a_multiprocessing_lock_is_refused(processes: Place) -> None:
    """A lock of `multiprocessing` crosses only by inheritance; the error says so, nothing hangs."""
    import multiprocessing

    lock = multiprocessing.get_context("spawn").Lock()
    (outcome,) = at(processes, f.echo).outcomes([lock])
    assert isinstance(outcome.error, NotPicklable)


def test_a_lambda_is_refused_and_told_of_by_value(processes: Place) -> None:
    """Under `pickling="strict"` a lambda cannot be sent; the message names the way out."""
    with pytest.warns(ParallelWarning, match="by-value"):
        function: Any = procession.parallel(lambda x: x + 1)
    with pytest.raises(NotPicklable, match="by-value") as caught:
        at(processes, function).map([1, 2])
    assert caught.value.where == "function"


def test_closures_by_value(processes: Place) -> None:
    """Under `pickling="by-value"` closures cross, with what they hold."""
    offset = 10

    @procession.parallel(pickling="by-value")
    def shifted(x: int) -> int:
        return x + offset

    assert at(processes, shifted).map([1, 2]) == [11, 12]


def test_a_closure_runs_locally(place: Place) -> None:
    """A nested function can be decorated, and runs here."""

    @procession.parallel
    def nested(x: int) -> int:
        return x + 1

    assert nested(1) == 2
    assert at(place, nested).local(1) == 2


def test_our_own_errors_cross(processes: Place) -> None:
    """An error of ours that an item raises keeps its fields on the way."""
    error = procession.TimedOut("too slow", seconds=2.5, index=7)
    (copy,) = at(processes, f.echo).map([error])
    assert (type(copy), copy.seconds, copy.index) == (procession.TimedOut, 2.5, 7)
    assert str(pickle.loads(pickle.dumps(copy))) == "too slow"


# ----------------------------------------------------------------------------------- retries


def test_retry_on_an_error(place: Place, tmp_path: Path) -> None:
    """An exception named in `retry_on` is tried again; the outcome counts the attempts."""
    function = at(place, f.misbehave_once, retries=2, retry_on=ValueError)
    outcomes = list(function.outcomes(range(4), "raise", tmp_path / "mark"))
    assert [outcome.value for outcome in outcomes] == [0, 1, 4, 9]
    assert [outcome.attempts for outcome in outcomes] == [1, 1, 2, 1]


def test_no_retry_for_other_errors(place: Place, tmp_path: Path) -> None:
    """An exception not named in `retry_on` is not."""
    function = at(place, f.misbehave_once, retries=2, retry_on=KeyError)
    outcomes = list(function.outcomes(range(4), "raise", tmp_path / "mark"))
    assert [outcome.ok for outcome in outcomes] == [True, True, False, True]
    assert outcomes[2].attempts == 1


def test_retries_end(place: Place) -> None:
    """After the last attempt the error is the item's own."""
    function = at(place, f.misbehave, retries=2, retry_on=ValueError)
    outcomes = list(function.outcomes(range(4), "raise"))
    assert [outcome.attempts for outcome in outcomes] == [1, 1, 3, 1]
    assert isinstance(outcomes[2].error, ValueError)
