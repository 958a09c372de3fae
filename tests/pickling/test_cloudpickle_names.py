"""What the private names of cloudpickle mean: a release that changes one fails here."""

from __future__ import annotations

import collections
import io
import pickle
import types
from typing import Any

from procession.pickling import cloudpickle_names as names


def made(function: types.FunctionType) -> Any:
    """A function made again from its description."""
    make, args, state, *_, fill = names.reduce_function(names.Pickler(io.BytesIO(), 5), function)
    again = make(*args)
    fill(again, state)
    return again


def test_a_function_is_described_and_filled() -> None:
    """It is made bare, and its state is set by the sixth part, or by `set_function_state`."""
    space: dict[str, Any] = {"__name__": "elsewhere", "factor": 3}
    exec("def scaled(number, *, plus=1):\n    return number * factor + plus", space)
    description = names.reduce_function(names.Pickler(io.BytesIO(), 5), space["scaled"])
    make, args, state, items, pairs, fill = description
    assert (items, pairs) == (None, None)
    assert fill is names.set_function_state
    again = make(*args)
    names.set_function_state(again, state)
    assert again(2) == 7
    assert again.__globals__ is not space
    assert again.__globals__["factor"] == 3
    assert made(space["scaled"])(1) == 4


def test_code_is_described() -> None:
    """A maker and its arguments, in order; the file is one of them, or stands as a placeholder."""
    code = test_code_is_described.__code__
    make, args, *_ = names.reduce_code(code)
    again = make(*args)
    assert isinstance(again, types.CodeType)
    assert again.co_code == code.co_code
    assert code.co_filename in args or "<dynamic-code>" in args


def test_the_globals_of_code() -> None:
    """Those of nested functions are among them; locals are not."""

    def outer() -> Any:
        local = collections

        def inner() -> Any:
            return pickle, local

        return inner

    assert set(names.code_globals(outer.__code__)) == {"collections", "pickle"}


def test_the_layout_and_contents_of_a_class() -> None:
    """A skeleton's arguments with an id, and what the class has of its own."""

    class Base:
        above = 1

    class Mine(Base):
        """Text."""

        below = 2

    meta, name, bases, space, tracker, extra = names.class_layout(Mine)
    assert (meta, name, bases, extra) == (type, "Mine", (Base,), None)
    assert "__module__" in space
    assert isinstance(tracker, str)
    assert names.class_layout(Mine)[4] == tracker
    contents = names.class_contents(Mine)
    assert contents["below"] == 2
    assert contents["__doc__"] == "Text."
    assert "above" not in contents


def test_classes_are_known_by_their_id() -> None:
    """The first class of an id is the one that has it."""
    first, second = type("First", (), {}), type("Second", (), {})
    assert names.class_by_id("procession-tests", first) is first
    assert names.class_by_id("procession-tests", second) is first
    assert names.CLASSES_BY_ID.get("procession-tests") is first
    assert names.CLASSES_BY_ID.get("procession-tests-none") is None


def test_the_state_of_a_class() -> None:
    """Attributes are set from the first of two dictionaries."""
    cls = type("Bare", (), {})
    names.set_class_state(cls, ({"word": 5}, {}))
    assert vars(cls)["word"] == 5


def test_builtin_types_go_by_name() -> None:
    """Types that no module holds under their name are described by cloudpickle's."""
    kinds = list(names.BUILTIN_TYPES)
    assert types.FunctionType in kinds
    assert int not in kinds or names.reduce_class(int) is NotImplemented
    make, args, *_ = names.reduce_class(types.FunctionType)
    assert make(*args) is types.FunctionType
    make, args, *_ = names.reduce_class(type(None))
    assert make(*args) is type(None)


def test_registered_reducers() -> None:
    """Cells, modules and properties have one; a list has none."""
    for kind in (types.CellType, types.ModuleType, property, types.MethodType):
        assert callable(names.registered_reducer(kind))
    assert names.registered_reducer(list) is None
    reduce = names.registered_reducer(types.ModuleType)
    assert reduce is not None
    make, args, *_ = reduce(pickle)
    assert make(*args) is pickle
