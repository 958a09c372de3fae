"""The loop over a column: items share what none of them has changed, and stop when told to."""

from __future__ import annotations

import contextvars
import pickle
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from procession.items import DIVIDED, RUNNING, STOP, UNTIL
from procession.pickling.columns import open_value
from procession.worker import column_loop, current
from procession.worker.column_loop import ColumnLoop
from procession.worker.column_sink import ColumnSink
from procession.worker.job_header import Header, Settings

VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("VARIABLE")


def header_of(call: Callable[[Any], Any]) -> Header:
    """What a worker knows of a job."""
    return Header(call, (), (), {}, Settings("call", "value", "strict"))


def run(
    call: Callable[[Any], Any],
    values: list[Any],
    sink: ColumnSink | None = None,
    *known: tuple[contextvars.ContextVar[Any], Any],
) -> ColumnSink:
    """Run `call` on values as a worker does; what came of it."""
    sink = ColumnSink() if sink is None else sink
    loop = ColumnLoop(header_of(call), sink, (), (), lambda: None, out_of_band=False)
    context = current.begin_column(lambda: current.CurrentTask(0, 1, "worker", "call"))
    try:
        for variable, value in known:
            context.run(variable.set, value)
        loop.run(range(len(values)), pickle.dumps(values), context, call)
    finally:
        current.end()
    return sink


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_an_items_context_is_its_own(known: bool, fails: bool) -> None:
    """What an item sets is gone for the next one: new variables and known ones, also if it fails.

    The value that is set is equal to the one before, and another object.
    """
    first: list[int] = []
    seen: list[Any] = []

    def call(x: int) -> int:
        seen.append(VARIABLE.get(None))
        if x in (3, 7):
            VARIABLE.set([])
            if fails:
                raise LookupError(x)
        return x

    sink = run(call, list(range(10)), None, *([(VARIABLE, first)] if known else ()))
    assert [id(each) for each in seen] == [id(first if known else None)] * 10
    assert sink.payloads == [None if fails and x in (3, 7) else x for x in range(10)]
    assert [reply.index for reply in sink.replies] == ([3, 7] if fails else [])


def test_results_of_any_kind_follow_each_other() -> None:
    """A number, a row and a pickle, wherever the first odd one comes."""
    results: list[Any] = [0, "x", {"a": 1}, 3, {4}, [5], (6, 7), None]
    payloads = run(lambda x: results[x], list(range(8))).payloads
    assert payloads[:4] == [0, "x", ({"a": 1},), 3]
    assert type(payloads[4]) is bytes
    assert payloads[-1] is None


@pytest.mark.parametrize("values", [list(range(50)), [([x],) for x in range(50)]])
def test_it_stops_after_the_item_that_runs(values: list[Any]) -> None:
    """Told by the word, however short its items are and whatever they are given."""
    sink = ColumnSink()

    def call(x: Any) -> int:
        index: int = sink.words[RUNNING]
        if index == 20:
            sink.words[STOP] = sink.chunk
        return index

    run(call, values, sink)
    assert sink.payloads[:21] == list(range(21))
    assert len(sink.payloads) < 50


@pytest.mark.parametrize("values", [list(range(50)), [([x],) for x in range(50)]])
def test_it_ends_before_the_item_that_others_have(values: list[Any]) -> None:
    """Told by the words while an earlier item runs: exactly there. Another chunk's mean nothing."""
    sink = ColumnSink()

    def call(x: Any) -> int:
        index: int = sink.words[RUNNING]
        if index == 20:
            sink.words[UNTIL], sink.words[STOP] = 30, sink.chunk | DIVIDED
        if index == 25:
            sink.words[UNTIL] = 27
        return index

    run(call, values, sink)
    assert sink.payloads == list(range(27))
    for earlier in ((sink.chunk + 1) | DIVIDED, sink.chunk + 1, -sink.chunk - 1):
        sink = ColumnSink()
        sink.words[UNTIL], sink.words[STOP] = 3, earlier
        assert len(run(lambda x: 1, values, sink).payloads) == 50


def test_it_is_told_after_an_earlier_column_was() -> None:
    """A word that was said of another column, and stays, does not hide one that is said of this."""
    for said in (1, 1 | DIVIDED):
        sink = ColumnSink()
        sink.words[UNTIL], sink.words[STOP] = 0, 7

        def call(x: int, sink: ColumnSink = sink, said: int = said) -> int:
            if x == 20:
                sink.words[UNTIL], sink.words[STOP] = 21, said
            return x

        assert sink.chunk == 1
        assert run(call, list(range(50)), sink).payloads == list(range(21))


@pytest.mark.parametrize("values", [list(range(50)), [([x],) for x in range(50)]])
def test_a_short_rest_is_not_given_back(values: list[Any]) -> None:
    """Items go on that take no longer than to give them back; a long one is the last."""
    sink = ColumnSink()
    sink.words[STOP] = -sink.chunk
    with pytest.MonkeyPatch.context() as patch:  # whatever else the processor does meanwhile
        patch.setattr(column_loop, "perf_counter", lambda: 0.0)
        run(lambda x: 1, values, sink)
    assert len(sink.payloads) == 50

    def call(x: Any) -> int:
        time.sleep(0.005)
        return 1

    sink = ColumnSink()
    sink.words[STOP] = -sink.chunk
    run(call, values, sink)
    assert len(sink.payloads) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_items_that_become_long_are_given_back(fails: bool) -> None:
    """After many short ones, which share a reading of the clock, a long one is still the last."""
    sink = ColumnSink()

    def call(x: int) -> int:
        if x >= 150:
            sink.words[STOP] = -sink.chunk
            time.sleep(0.005)
            if fails:
                raise LookupError(x)
        return x

    run(call, list(range(300)), sink)
    assert 151 <= len(sink.payloads) <= 153


def test_what_the_loop_takes_by_itself_is_not_the_functions() -> None:
    """Seconds of a column are those that its items would take where there is no such loop."""
    now = [0.0]

    def call(x: int) -> int:
        now[0] += 1.0
        return x

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_loop, "_by_itself", 0.25)
        patch.setattr(column_loop, "perf_counter", lambda: now[0])
        sink = run(call, list(range(10)))
    assert sink.collect()[1].seconds == 7.5


def test_the_loop_is_timed_once() -> None:
    """And what that takes runs nothing of the user's, and leaves no result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_loop, "_by_itself", None)
        seen: list[int] = []
        sink = run(seen.append, list(range(10)))
        known = column_loop._by_itself
        assert known is not None
        assert 0 <= known < 1
        run(seen.append, list(range(10)))
        assert column_loop._by_itself == known
    assert seen == [*range(10), *range(10)]
    assert sink.payloads == [None] * 10


def test_what_is_told_while_an_item_runs_counts_its_seconds() -> None:
    """Many short items come first, so that it shares their reading of the clock."""
    sink, told = ColumnSink(), []

    def call(x: int) -> int:
        if x == 600:
            began = time.perf_counter()
            time.sleep(0.005)
            lasted = time.perf_counter() - began
            told.append((lasted, sink.collect()[1].seconds))
        return x

    run(call, list(range(601)), sink)
    rest = sink.collect()[1].seconds
    ((lasted, seconds),) = told
    assert seconds >= lasted
    assert rest >= 0
    assert len(sink.payloads) == 0


def test_what_an_item_returned_is_not_changed_by_the_next_one() -> None:
    """Rows, and containers in containers, are sent as they were when they were returned."""
    flat: dict[str, int] = {}
    deep: dict[str, Any] = {"list": []}

    def call(x: int) -> Any:
        flat["x"] = x
        deep["list"].append({"x": Decimal(x)})
        return deep if x % 2 else flat

    results = [open_value(each) for each in run(call, list(range(4))).payloads]
    assert results[::2] == [{"x": 0}, {"x": 2}]
    assert [len(each["list"]) for each in results[1::2]] == [2, 4]
    assert results[1]["list"] is not results[3]["list"]


def test_values_that_cannot_be_loaded_together() -> None:
    """Each item is answered for, and the column ends."""
    sink = ColumnSink()
    loop = ColumnLoop(header_of(abs), sink, (), (), lambda: None, out_of_band=False)
    missing = pickle.dumps((1, 2), 5)[:-1] + b"cno_such_module\nname\n."
    context = current.begin_column(lambda: current.CurrentTask(0, 1, "worker", "call"))
    try:
        loop.run(range(2), missing, context, abs)
    finally:
        current.end()
    assert [reply.index for reply in sink.replies] == [0, 1]
    errors = [pickle.loads(reply.payload) for reply in sink.replies]
    assert all("no_such_module" in str(error) for error in errors)
