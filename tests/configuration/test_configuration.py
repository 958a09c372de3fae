"""Options: names, values, what goes together, and where they come from."""

from __future__ import annotations

import dataclasses
import datetime
import gc
import multiprocessing
import os
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import pytest

from procession.configuration import (
    BACKENDS,
    CONTEXTS,
    DEFAULT_BACKEND,
    SUPPORTED,
    Options,
    OptionValues,
    configure,
    options,
    precedence,
    resolve,
    validate,
)
from procession.configuration.from_environment import TEXT_FORMS
from procession.configuration.parsers import OPTIONS
from procession.configuration.validation import ALIASES
from procession.errors import OptionError, ParallelWarning
from procession.system.resources import usable_cpus
from tests.support.project import ROOT

TABLE = [
    *("workers", "backend", "address", "context", "chunk", "window", "inline", "timeout"),
    *("deadline", "max_pending"),
    *("retries", "retry_on", "retry_delay", "memory_limit", "max_tasks_per_worker"),
    *("initializer", "initargs"),
    *("threads_per_worker", "seed", "pickling", "progress", "nested", "forward_logs", "combine"),
]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option from outside, and none left for the next test."""
    for name in list(os.environ):
        if name.startswith("PROCESSION_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(precedence, "_configured", precedence._NOTHING)
    monkeypatch.setattr(precedence, "_warned", set())
    monkeypatch.setattr(precedence, "_last_environment", None)
    monkeypatch.setattr(precedence, "_cache", {})


def refusal(caller: str = "parallel_map", /, **values: Any) -> str:
    """The message that these options are refused with."""
    with pytest.raises(OptionError) as caught:
        validate(values, caller=caller)
    return str(caught.value)


def accepted(**values: Any) -> Any:
    """The one value given, as it is kept."""
    ((_, kept),) = validate(values, caller="parallel_chunks").items()
    return kept


# -- the table -------------------------------------------------------------------------------


def test_options_has_the_table_in_its_order() -> None:
    """The dataclass, the TypedDict and the parsers list the documented options, in that order."""
    fields = [field.name for field in dataclasses.fields(Options)]
    assert fields == [*TABLE, "explicit", "given"]
    assert list(OPTIONS) == TABLE
    assert list(OptionValues.__annotations__) == TABLE


def test_options_are_frozen_and_hashable() -> None:
    """Options cannot be changed, and hash even when what they hold does not."""
    chosen = Options(workers=2, initializer=print, initargs=([],))
    assert hash(chosen) == hash(Options(workers=2, initializer=print, initargs=([],)))
    assert chosen == Options(workers=2, initializer=print, initargs=([],))
    with pytest.raises(dataclasses.FrozenInstanceError):
        chosen.workers = 3  # type: ignore[misc]


def test_options_are_a_dataclass_to_their_users() -> None:
    """What `dataclasses` and `copy` do with one, they do with these; wrong arguments are named."""
    chosen = Options(workers=2, timeout=1.0)
    import copy
    import inspect
    import pickle

    assert dataclasses.is_dataclass(Options)
    assert dataclasses.replace(chosen, workers=3) == Options(workers=3, timeout=1.0)
    assert (
        copy.copy(chosen) == copy.deepcopy(chosen) == pickle.loads(pickle.dumps(chosen)) == chosen
    )
    assert chosen != dataclasses.replace(chosen, explicit=frozenset({"seed"}), seed=1)
    assert chosen == dataclasses.replace(chosen, explicit=frozenset({"seed"}))
    assert repr(chosen).startswith("Options(workers=2, backend='process', address=None")
    assert "explicit" not in repr(chosen)
    assert list(inspect.signature(Options).parameters) == [
        field.name for field in dataclasses.fields(Options)
    ]
    with pytest.raises(TypeError, match="unexpected argument 'worker'"):
        Options(worker=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no argument 'workers'"):
        Options()  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError, match="'workers'"):
        del chosen.workers


def test_every_default_is_a_valid_value() -> None:
    """What an option is by default can be written, so that it can be set back."""
    defaults = dataclasses.asdict(Options(workers=2))
    for name in TABLE:
        if name != "combine":
            assert validate({name: defaults[name]}, caller="configure") == {name: defaults[name]}


def test_every_alias_leads_to_an_option() -> None:
    """No alias names an option that is not there, and none is an option itself."""
    assert set(ALIASES.values()) <= set(TABLE)
    assert not set(ALIASES) & set(TABLE)


# -- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_jobs": 4}, "parallel_map() has no option 'n_jobs'. Write workers=4."),
        ({"max_workers": 2}, "parallel_map() has no option 'max_workers'. Write workers=2."),
        ({"processes": 2}, "parallel_map() has no option 'processes'. Write workers=2."),
        ({"chunksize": 10}, "parallel_map() has no option 'chunksize'. Write chunk=10."),
        (
            {"start_method": "spawn"},
            "parallel_map() has no option 'start_method'. Write context='spawn'.",
        ),
        (
            {"maxtasksperchild": 5},
            "parallel_map() has no option 'maxtasksperchild'. Write max_tasks_per_worker=5.",
        ),
        (
            {"max_tasks_per_child": 5},
            "parallel_map() has no option 'max_tasks_per_child'. Write max_tasks_per_worker=5.",
        ),
        ({"time_limit": 3}, "parallel_map() has no option 'time_limit'. Write timeout=3."),
        ({"max_retries": 3}, "parallel_map() has no option 'max_retries'. Write retries=3."),
        (
            {"mem_limit": "1GB"},
            "parallel_map() has no option 'mem_limit'. Write memory_limit='1GB'.",
        ),
        ({"worker": 4}, "parallel_map() has no option 'worker'. Write workers=4."),
        ({"Timeout": 4}, "parallel_map() has no option 'Timeout'. Write timeout=4."),
        ({"tiemout": 4}, "parallel_map() has no option 'tiemout'. Write timeout=4."),
        (
            {"n_jobs": -1},
            "parallel_map() has no option 'n_jobs'. "
            "Leave it out: all usable CPUs are the default of workers.",
        ),
        (
            {"max_attempts": 3},
            "parallel_map() has no option 'max_attempts'. The nearest is 'retries'.",
        ),
        ({"n_jobs": "all"}, "parallel_map() has no option 'n_jobs'. The nearest is 'workers'."),
        (
            {"callback": print},
            "parallel_map() has no option 'callback'. "
            "Call f.submit(...).add_done_callback(function).",
        ),
    ],
)
def test_unknown_option_names_the_nearest(values: dict[str, Any], message: str) -> None:
    """An unknown name is answered with ours, and the value is carried over where it fits."""
    assert refusal(**values) == message


def test_unknown_option_without_a_neighbour_lists_all() -> None:
    """A name that is near to nothing is answered with the whole list."""
    message = refusal(frobnicate=1)
    assert message.startswith("parallel_map() has no option 'frobnicate'. The options are workers,")
    assert all(name in message for name in TABLE)


def test_context_object_is_carried_over_by_name() -> None:
    """A value that cannot be written down is not printed as an address."""
    message = refusal(mp_context=multiprocessing.get_context("spawn"))
    assert message == "parallel_map() has no option 'mp_context'. Write context and the same value."


# -- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "rule", "instead"),
    [
        ({"workers": 0}, "must be a whole number of at least 1.", "Write workers=4"),
        ({"workers": "4"}, "of at least 1, and this is a str.", "Write workers=4"),
        ({"workers": True}, "of at least 1, and this is a bool.", "Write workers=4"),
        ({"workers": 2.0}, "of at least 1, and this is a float.", "Write workers=4"),
        ({"workers": -1}, "All usable CPUs are what you get", "leave it out"),
        ({"backend": "multiprocessing"}, "there is no such backend.", "Write backend='process'."),
        ({"backend": "threds"}, "there is no such backend.", "Write backend='thread'."),
        ({"backend": 3}, "and this is an int.", "The names are"),
        (
            {"backend": ThreadPoolExecutor},
            "this is the class, and an executor itself is needed.",
            "Write backend=ThreadPoolExecutor(...).",
        ),
        ({"address": 8786}, "address must be a string, and this is an int.", "Write address='tcp"),
        ({"address": ""}, "address must not be empty.", "Write address='tcp"),
        ({"context": "spwan"}, "there is no such start context.", "Write context='spawn'."),
        (
            {"context": multiprocessing},
            "and this is a module.",
            "context=multiprocessing.get_context('spawn')",
        ),
        ({"context": 1}, "and this is an int.", "Write context='spawn'"),
        ({"chunk": 0}, "must be 'auto' or a whole number of at least 1.", "Write chunk=16"),
        ({"chunk": "large"}, "must be 'auto' or a whole number", "Write chunk=16"),
        ({"chunk": 1.5}, "and this is a float.", "Write chunk=16"),
        ({"window": 0}, "window must be a whole number of items", "Write window=1000"),
        ({"inline": "no"}, "inline must be 'auto', True or False.", "Write inline=False"),
        ({"inline": 1}, "and this is an int.", "Write inline=False"),
        ({"timeout": 0}, "a finite number of seconds above 0.", "Write timeout=5.0"),
        ({"timeout": -1.0}, "a finite number of seconds above 0.", "Write timeout=5.0"),
        ({"timeout": float("inf")}, "a finite number of seconds", "leave it out for no limit"),
        ({"timeout": 10**400}, "a finite number of seconds", "leave it out for no limit"),
        ({"timeout": float("nan")}, "a finite number of seconds", "Write timeout=5.0"),
        ({"timeout": "5"}, "and this is a str.", "Write timeout=5.0"),
        ({"timeout": True}, "and this is a bool.", "Write timeout=5.0"),
        ({"timeout": datetime.timedelta(minutes=1)}, "a timedelta.", "Write timeout=60.0."),
        ({"retries": -1}, "retries must be a whole number of at least 0.", "Write retries=2"),
        ({"retries": None}, "and this is a NoneType.", "Write retries=2"),
        ({"retry_on": "OSError"}, "and this is a str.", "Write retry_on=(OSError, ValueError)."),
        ({"retry_on": (OSError, int)}, "and this is a type.", "Write retry_on="),
        ({"retry_on": KeyboardInterrupt}, "KeyboardInterrupt asks to stop.", "Write retry_on="),
        ({"memory_limit": "lots"}, "or a string with a unit.", "Write memory_limit='512MB'"),
        (
            {"memory_limit": "9" * 400 + "GB"},
            "or a string with a unit.",
            "Write memory_limit='512MB'",
        ),
        ({"memory_limit": "2G"}, "or a string with a unit.", "'512MB' (10^6) or '512MiB' (2^20)"),
        ({"memory_limit": 512}, "512 bytes are less than Python itself takes.", "'512MB'"),
        ({"memory_limit": -1}, "memory_limit counts bytes", "'512MB'"),
        ({"memory_limit": 1e9}, "and this is a float.", "'512MB'"),
        ({"max_tasks_per_worker": 0}, "of items of at least 1.", "max_tasks_per_worker=100"),
        ({"initializer": "setup"}, "initializer must be callable", "Write initializer=function"),
        ({"initargs": "a"}, "initargs must be a tuple, and this is a str.", "initargs=('a',)"),
        ({"threads_per_worker": 0}, "of at least 1.", "Write threads_per_worker=1"),
        ({"seed": 1.5}, "seed must be a whole number, and this is a float.", "Write seed=42."),
        ({"seed": True}, "and this is a bool.", "Write seed=42."),
        ({"pickling": "byvalue"}, "no such pickling mode.", "Write pickling='by-value'."),
        ({"pickling": None}, "pickling must be a name", "'strict' and 'by-value'"),
        ({"progress": 1}, "a function of (done, total), and this is an int.", "progress=True"),
        ({"nested": "parallel"}, "no such nested mode.", "'serial' and 'error'"),
        ({"forward_logs": 1}, "must be True or False, and this is an int.", "forward_logs=False"),
    ],
)
def test_bad_value_says_what_was_given_the_rule_and_what_to_write(
    values: dict[str, Any], rule: str, instead: str
) -> None:
    """Each refused value is shown with its option, its rule, and a value that works."""
    ((name, _),) = values.items()
    message = refusal(**values)
    assert message.startswith(f"parallel_map({name}=")
    assert rule in message
    assert instead in message


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"workers": None}, None),
        ({"timeout": 5}, 5.0),
        ({"timeout": None}, None),
        ({"memory_limit": "512MB"}, 512 * 10**6),
        ({"memory_limit": "512MiB"}, 512 * 2**20),
        ({"memory_limit": "1.5GB"}, 1_500_000_000),
        ({"memory_limit": " 2 gib "}, 2 * 2**30),
        ({"memory_limit": 10**9}, 10**9),
        ({"retry_on": OSError}, (OSError,)),
        ({"retry_on": [OSError, ValueError]}, (OSError, ValueError)),
        ({"retry_on": ()}, ()),
        ({"chunk": "auto"}, "auto"),
        ({"chunk": 7}, 7),
        ({"inline": False}, False),
        ({"seed": -3}, -3),
        ({"progress": "resizing"}, "resizing"),
        ({"progress": print}, print),
        ({"combine": sum}, sum),
        ({"context": "forkserver"}, "forkserver"),
        ({"backend": "serial"}, "serial"),
    ],
)
def test_good_value_is_kept_in_one_form(values: dict[str, Any], kept: object) -> None:
    """Sizes become bytes, seconds floats, exception classes a tuple."""
    result = accepted(**values)
    assert result == kept
    assert type(result) is type(kept)


def test_numpy_integers_are_numbers() -> None:
    """Whatever has __index__ counts as a whole number and is kept as an int."""
    numpy = pytest.importorskip("numpy")
    kept = accepted(workers=numpy.int64(3))
    assert kept == 3
    assert type(kept) is int


def test_executor_instance_is_a_backend() -> None:
    """Any concurrent.futures.Executor is taken as it is."""
    with ThreadPoolExecutor(1) as executor:
        assert accepted(backend=executor) is executor


def test_combine_is_for_parallel_chunks_alone() -> None:
    """Only the decorator that joins pieces takes combine, also through with_options."""
    assert refusal(combine=sum).startswith("parallel_map(combine=sum): only @parallel_chunks")
    changed = validate({"combine": sum}, caller="with_options", decorator="parallel_chunks")
    assert changed == {"combine": sum}


# -- options that do not go together ---------------------------------------------------------


@pytest.mark.parametrize("backend", ["thread", "serial"])
@pytest.mark.parametrize("limit", [{"timeout": 3.0}, {"memory_limit": "1GB"}])
def test_limits_need_a_process(backend: str, limit: dict[str, Any]) -> None:
    """What runs in this process cannot be ended, so a limit on it is refused."""
    message = refusal(backend=backend, **limit)
    assert "ends the process that an item runs in" in message
    assert "Write backend='process'" in message


@pytest.mark.parametrize("backend", ["thread", "serial"])
@pytest.mark.parametrize("option", ["max_tasks_per_worker", "threads_per_worker"])
def test_worker_shapes_need_a_process(backend: str, option: str) -> None:
    """What shapes a worker process is refused where there is none."""
    assert "shapes a worker process" in refusal(backend=backend, **{option: 2})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_backend_by_context_is_as_the_table_says(backend: str, context: str) -> None:
    """Every cell of the documented table either validates or is refused with its reason."""
    reason = SUPPORTED[backend][context]
    values = {"backend": backend, "context": context}
    if reason is None:
        assert validate(values, caller="parallel") == values
    else:
        assert reason in refusal(**values)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_context_object_counts_as_its_start_method(method: str) -> None:
    """A context object is accepted and refused as its name is."""
    context = multiprocessing.get_context(method)
    assert accepted(context=context) is context
    assert "there is no process to start" in refusal(backend="thread", context=context)


def test_loky_context_object_is_refused_by_stdlib() -> None:
    """ProcessPoolExecutor breaks in loky's context, whether it is named or given."""
    from loky.backend.context import get_context

    assert "cannot use loky's start context" in refusal(
        backend="stdlib", context=get_context("loky")
    )


def test_stdlib_cannot_replace_forked_workers() -> None:
    """CPython refuses max_tasks_per_child under fork; so do we, when decorating."""
    message = refusal(backend="stdlib", context="fork", max_tasks_per_worker=10)
    assert "refuses max_tasks_per_child under 'fork'" in message
    validate(
        {"backend": "stdlib", "context": "spawn", "max_tasks_per_worker": 10}, caller="parallel"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"workers": 2},
        {"initializer": print},
        {"max_tasks_per_worker": 2},
        {"threads_per_worker": 2},
    ],
)
def test_executor_instance_has_its_workers_shaped_already(values: dict[str, Any]) -> None:
    """What shapes workers belongs where the executor is made."""
    with ThreadPoolExecutor(1) as executor:
        message = refusal(backend=executor, **values)
    assert "workers are already shaped" in message


def test_executor_instance_has_a_context_already() -> None:
    """An executor was made with its own start context."""
    with ThreadPoolExecutor(1) as executor:
        message = refusal(backend=executor, context="spawn")
    assert "made with its own context" in message


def test_address_needs_a_cluster() -> None:
    """An address goes with a backend that has one."""
    assert "only a backend that runs on a cluster" in refusal(backend="loky", address="tcp://a:1")


def test_initargs_need_an_initializer() -> None:
    """Arguments for a function that is not there are a mistake; with_options may add them."""
    assert "Write initializer=function" in refusal(initargs=(1,))
    over = {"initializer": print}
    assert validate({"initargs": (1,)}, caller="with_options", over=over) == {"initargs": (1,)}


@pytest.mark.parametrize("limit", [{"timeout": 3.0}, {"memory_limit": "1GB"}])
def test_always_inline_cannot_be_limited(limit: dict[str, Any]) -> None:
    """Items that run here for certain cannot be ended alone."""
    assert "inline=True runs the items in this process" in refusal(inline=True, **limit)


def test_changes_are_checked_against_the_decorator() -> None:
    """with_options is refused what contradicts the options that it is laid over."""
    with pytest.raises(OptionError, match=r"with_options\(timeout=3.0, backend='serial'\)"):
        validate({"timeout": 3}, caller="with_options", over={"backend": "serial"})


# -- where options come from -----------------------------------------------------------------


def test_default_options() -> None:
    """With nothing set anywhere, every option has the documented default."""
    found = resolve()
    assert found == Options(workers=usable_cpus(), threads_per_worker=1)
    assert found.backend == DEFAULT_BACKEND
    assert found.explicit == found.given == frozenset()
    assert found.may_inline


def test_threads_share_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker gets its share of the CPUs as threads, at least one."""
    monkeypatch.setenv("PYTHON_CPU_COUNT", "8")
    assert resolve({"workers": 2}).threads_per_worker == 4
    assert resolve({"workers": 20}).threads_per_worker == 1
    assert resolve({"backend": "thread"}).threads_per_worker is None


def test_each_place_is_stronger_than_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Default, configure, options, decorator, with_options, environment: the last one wins."""
    decorator: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    assert resolve(changes, decorator).chunk == "auto"
    configure(chunk=1)
    assert resolve(changes, decorator).chunk == 1
    with options(chunk=2):
        assert resolve(changes, decorator).chunk == 2
        assert resolve(changes, {"chunk": 3}).chunk == 3
        assert resolve({"chunk": 4}, {"chunk": 3}).chunk == 4
        monkeypatch.setenv("PROCESSION_CHUNK", "5")
        assert resolve({"chunk": 4}, {"chunk": 3}).chunk == 5
        monkeypatch.delenv("PROCESSION_CHUNK")
    assert resolve(changes, decorator).chunk == 1


def test_resolving_again_gives_the_same_object() -> None:
    """Nothing is worked out twice while nothing changes."""
    changes: dict[str, Any] = {"retries": 2}
    decorator: dict[str, Any] = {}
    first = resolve(changes, decorator)
    assert resolve(changes, decorator) is first
    configure(window=10)
    assert resolve(changes, decorator).window == 10


def test_configure_adds_and_takes_back() -> None:
    """Calls add up; nothing is changed by an empty call; a default takes an option back."""
    configure(timeout=3)
    configure(retries=1)
    configure()
    assert (resolve().timeout, resolve().retries) == (3.0, 1)
    configure(timeout=None)
    assert (resolve().timeout, resolve().retries) == (None, 1)


def test_configure_is_all_or_nothing() -> None:
    """A call with one wrong option sets none of them."""
    with pytest.raises(OptionError, match=r"configure\(workers=0\)"):
        configure(chunk=9, workers=0)
    assert resolve().chunk == "auto"


def test_options_blocks_nest_and_end() -> None:
    """Inner blocks add to outer ones, and each ends with its block, also by an error."""
    with options(chunk=2, retries=1):
        with pytest.raises(ZeroDivisionError), options(chunk=3):
            assert (resolve().chunk, resolve().retries) == (3, 1)
            raise ZeroDivisionError
        assert resolve().chunk == 2
    assert resolve().chunk == "auto"


def test_options_are_refused_when_written() -> None:
    """A wrong option is refused where it stands, before the block is entered."""
    with pytest.raises(OptionError, match=r"options\(workers=0\)"):
        options(workers=0)


def test_options_block_does_not_reach_other_threads() -> None:
    """A block belongs to the thread that entered it."""
    seen: list[object] = []
    with options(chunk=2):
        thread = threading.Thread(target=lambda: seen.append(resolve().chunk))
        thread.start()
        thread.join()
    assert seen == ["auto"]


def test_options_of_concurrent_tasks_are_apart() -> None:
    """Two asyncio tasks each see their own block."""
    import asyncio

    async def task(chunk: int, here: asyncio.Event, there: asyncio.Event) -> object:
        with options(chunk=chunk):
            here.set()
            await there.wait()
            return resolve().chunk

    async def main() -> list[object]:
        one, two = asyncio.Event(), asyncio.Event()
        return list(await asyncio.gather(task(1, one, two), task(2, two, one)))

    assert asyncio.run(main()) == [1, 2]


def test_places_that_contradict_each_other_are_refused() -> None:
    """The message names both options and both places."""
    configure(backend="serial")
    with pytest.raises(OptionError) as caught:
        resolve({}, {"timeout": 5.0})
    assert str(caught.value).startswith(
        "timeout=5.0 (from the decorator) and backend='serial' (from procession.configure()) "
        "cannot both be: timeout ends the process"
    )


def test_executor_from_outside_ignores_the_number_of_workers() -> None:
    """A function's workers= does not stop a block from giving an executor."""
    with ThreadPoolExecutor(1) as executor, options(backend=executor):
        assert resolve({}, {"workers": 3}).backend is executor


def test_explicit_options_are_those_on_the_function() -> None:
    """Only decorator and with_options count, and only what asks for something."""
    configure(chunk=3)
    found = resolve({"timeout": None, "retries": 0}, {"workers": 2, "context": "spawn"})
    assert found.explicit == {"workers", "context"}
    assert found.given == {"workers", "context", "chunk", "timeout", "retries"}
    assert not found.may_inline
    assert resolve({"workers": 2, "timeout": None}).may_inline


@pytest.mark.parametrize(
    "values",
    [
        {"timeout": 1.0},
        {"memory_limit": 10**9},
        {"retries": 1},
        {"initializer": print},
        {"max_tasks_per_worker": 9},
        {"threads_per_worker": 1},
        {"backend": "process"},
        {"context": "spawn"},
        {"inline": False},
    ],
)
def test_some_options_keep_items_out_of_this_process(values: dict[str, Any]) -> None:
    """Set on a function, these options forbid inline runs."""
    assert not resolve(values).may_inline


def test_a_limit_from_elsewhere_keeps_items_out_too() -> None:
    """A limit binds wherever it was set; a backend from elsewhere does not."""
    with options(timeout=3):
        assert not resolve().may_inline
    with options(backend="stdlib"):
        assert resolve().may_inline


# -- the environment -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("workers", "3", 3),
        ("backend", "thread", "thread"),
        ("context", "spawn", "spawn"),
        ("chunk", "auto", "auto"),
        ("chunk", "12", 12),
        ("window", "100", 100),
        ("inline", "off", False),
        ("inline", "auto", "auto"),
        ("timeout", "2.5", 2.5),
        ("timeout", "none", None),
        ("retries", "2", 2),
        ("memory_limit", "1GiB", 2**30),
        ("memory_limit", "1000000000", 10**9),
        ("pickling", "by-value", "by-value"),
        ("progress", "1", True),
        ("progress", "false", False),
        ("progress", "resizing", "resizing"),
        ("seed", "42", 42),
        ("deadline", "1.5", 1.5),
        ("retry_delay", "0.5", 0.5),
        ("max_pending", "10", 10),
        ("max_pending", "none", None),
        ("max_tasks_per_worker", "7", 7),
        ("threads_per_worker", "1", 1),
        ("nested", "error", "error"),
        ("forward_logs", "no", False),
    ],
)
def test_environment_text(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    """Each documented option has a text form, which wins over the decorator."""
    decorator: dict[str, Any] = {"timeout": 9.0} if text == "none" else {}
    resolve({}, decorator)
    monkeypatch.setenv(f"PROCESSION_{name.upper()}", text)
    assert getattr(resolve({}, decorator), name) == value


def test_documented_text_forms() -> None:
    """Exactly the documented options can be written in the environment."""
    left_out = {"retry_on", "initializer", "initargs", "combine"}
    assert set(TEXT_FORMS) == set(TABLE) - left_out


def test_empty_variable_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable without text is as good as none."""
    monkeypatch.setenv("PROCESSION_WORKERS", " ")
    assert resolve({"workers": 2}).workers == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WORKERS", "many"),
        ("WORKERS", "0"),
        ("TIMEOUT", "soon"),
        ("BACKEND", "proces"),
        ("CONTEXT", "frok"),
        ("CHUNK", "big"),
        ("INLINE", "maybe"),
        ("MEMORY_LIMIT", "12 parsecs"),
        ("SEED", "x"),
        ("PICKLING", "dill"),
        ("RETRIES", "none"),
        ("NESTED", "maybe"),
        ("FORWARD_LOGS", "perhaps"),
        ("MAX_PENDING", "-1"),
        ("RETRY_DELAY", "soon"),
    ],
)
def test_bad_environment_text_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    """The person who set the variable is told which one it is, at first use."""
    monkeypatch.setenv(f"PROCESSION_{name}", text)
    with pytest.raises(OptionError) as caught:
        resolve()
    assert str(caught.value).startswith(f"PROCESSION_{name}={text}: ")
    assert f"environment variable PROCESSION_{name}" in str(caught.value)


def test_serial_from_outside_warns_once_and_drops_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operator may debug any program: limits are dropped with a word, shapes without one."""
    monkeypatch.setenv("PROCESSION_BACKEND", "serial")
    decorator = {"timeout": 5.0, "context": "spawn", "max_tasks_per_worker": 3}
    with pytest.warns(ParallelWarning, match=r"timeout=5.0 \(from the decorator\)") as caught:
        found = resolve({}, decorator)
    assert (found.backend, found.timeout, found.context) == ("serial", None, None)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve({}, dict(decorator)).timeout is None


def test_limit_from_outside_that_cannot_be_kept_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit in the environment cannot bind where the code chose threads."""
    monkeypatch.setenv("PROCESSION_TIMEOUT", "5")
    with pytest.warns(ParallelWarning, match="PROCESSION_TIMEOUT=5.0 is ignored"):
        found = resolve({}, {"backend": "thread"})
    assert found.timeout is None


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("PROCESSION_WORKER", "Write PROCESSION_WORKERS=2."),
        ("PROCESSION_N_JOBS", "Write PROCESSION_WORKERS=2."),
        ("PROCESSION_INITIALIZER", "Write procession.configure(initializer=...)"),
    ],
)
def test_variable_that_looks_like_an_option_warns(
    monkeypatch: pytest.MonkeyPatch, name: str, advice: str
) -> None:
    """A misspelt variable does not pass in silence."""
    monkeypatch.setenv(name, "2")
    with pytest.warns(ParallelWarning, match=f"{name} has no effect") as caught:
        resolve()
    assert advice in str(caught[0].message)


def test_other_variables_are_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is near to no option is left alone."""
    monkeypatch.setenv("PROCESSION_HOME", "/srv")
    assert resolve().backend == DEFAULT_BACKEND


# -- the documentation -----------------------------------------------------------------------


def test_documented_table_of_contexts_is_the_real_one() -> None:
    """docs/reference/options.md lists every backend × context as it is."""
    page = ROOT / "docs" / "reference" / "options.md"
    for backend, cells in SUPPORTED.items():
        words = ["works" if cells[context] is None else "refused" for context in CONTEXTS]
        assert f"| {backend} | {' | '.join(words)} |" in page.read_text(encoding="utf-8")


def test_what_is_forgotten_is_what_holds_objects() -> None:
    """Results that hold an object of the user's let it go; plain ones are still known."""

    class Large:
        pass

    large = Large()
    gone = weakref.ref(large)
    plain = MappingProxyType({"workers": 3})
    holding = MappingProxyType({"initializer": print, "initargs": (large,)})
    known = precedence.resolve(plain)
    precedence.resolve(holding)
    del large, holding
    gc.collect()
    assert gone() is not None
    precedence.forget()
    gc.collect()
    assert gone() is None
    assert precedence.resolve(plain) is known
