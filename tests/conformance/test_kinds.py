"""Functions, methods, classmethods, staticmethods: all can be sent, and the right one runs."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import procession
from procession import background, isolated, parallel, parallel_chunks, parallel_map
from tests.conformance import functions as f
from tests.conformance import same_names, shapes
from tests.conformance.places import Place, at

DECORATORS = [parallel, parallel_map, parallel_chunks, background, isolated]


def test_methods(place: Place) -> None:
    """A method takes its instance along, with all verbs."""
    base = shapes.Base(3)
    times = at(place, base.times)
    assert times.map([1, 2]) == [3, 6]
    assert times.submit(5).result() == 15
    assert list(times.imap([1])) == [3]
    assert times.starmap([(1,), (2,)]) == [3, 6]
    assert [outcome.value for outcome in times.outcomes([4])] == [12]
    assert times(7) == times.local(7) == 21


def test_plain_calls_of_methods(place: Place) -> None:
    """Each decorator's plain call does the same on a method."""
    base = shapes.Base(3)
    assert at(place, base.each)([1, 2]) == [4, 5]
    assert at(place, base.scaled)([1, 2]) == [3, 6]
    assert at(place, base.later)(1).result() == 2


def test_isolated_methods() -> None:
    """A method can have a process of its own."""
    value, pid = shapes.Base(3).alone(2)
    assert value == 6
    assert pid != os.getpid()


def test_the_instance_is_sent_as_it_is_now(place: Place) -> None:
    """A method called twice sees what its instance is at each call."""
    base = shapes.Base(3)
    assert at(place, base.times).map([1]) == [3]
    base.factor = 5
    assert at(place, base.times).map([1]) == [5]


def test_classmethods_and_staticmethods(place: Place) -> None:
    """They work on the class and on instances, and know a subclass."""
    assert at(place, shapes.Base.tagged).map([1, 2]) == ["base 1", "base 2"]
    assert at(place, shapes.Derived.tagged).map([1]) == ["derived 1"]
    assert at(place, shapes.Derived(1).tagged).submit(2).result() == "derived 2"
    assert at(place, shapes.Base.plain).map([1, 2]) == ["static 1", "static 2"]
    assert at(place, shapes.Derived(1).plain).submit(2).result() == "static 2"


def test_inherited_and_overridden_methods(place: Place) -> None:
    """The instance's own class decides, as in any call."""
    assert at(place, shapes.Derived(2).times).map([1]) == [2]
    assert at(place, shapes.Derived(2).overridden).map([1]) == ["derived of base 1"]
    assert at(place, shapes.Base(2).overridden).map([1]) == ["base 1"]


def test_a_method_through_its_class(place: Place) -> None:
    """`Class.method.map` takes the instances as items, as `map(Class.method, ...)` would."""
    assert at(place, shapes.Point.plus).starmap([(shapes.Point(1), 2)]) == [3]
    points = [shapes.Point(1), shapes.Point(2)]
    assert at(place, shapes.Point.plus).map(points, 10) == [11, 12]


def test_unusual_classes(place: Place) -> None:
    """Frozen data classes, slots, nested classes, and instances that are called."""
    assert at(place, shapes.Point(1).plus).map([1, 2]) == [2, 3]
    assert at(place, shapes.Slotted(1).plus).map([1, 2]) == [2, 3]
    assert at(place, shapes.Base.Inner().times).map([1]) == [1000]
    assert shapes.Base(3)(2) == 7


def test_equal_names_are_not_confused(place: Place) -> None:
    """Two classes with one method name, two modules with one class name: the right one runs."""
    for _ in range(2):
        assert at(place, shapes.Base(3).times).map([1]) == [3]
        assert at(place, shapes.Other().times).map([1]) == [-1]
        assert at(place, same_names.Base().times).map([1]) == ["same name 1"]
        assert at(place, shapes.factorial).map([3]) == [6]
        assert at(place, same_names.factorial).map([3]) == ["no factorial of 3"]


def test_a_function_decorated_beside_its_name(place: Place) -> None:
    """`parallel(...)(func)` leaves the name to the undecorated function, and both work."""
    assert at(place, shapes.decorated_beside).map([1, 2]) == [101, 102]
    assert at(place, parallel()(shapes.undecorated)).map([1]) == [101]
    assert inspect.isfunction(shapes.undecorated)


def test_recursion_through_the_decorated_name(place: Place) -> None:
    """Inside a worker a decorated function calls itself."""
    assert at(place, shapes.factorial).map([1, 5, 10]) == [1, 120, 3628800]


def test_nested_maps_run_in_the_worker(place: Place) -> None:
    """A decorated map inside a worker runs there, one after the other."""
    assert at(place, shapes.maps_inside).map([3, 4]) == [[1, 1, 2], [1, 1, 2, 6]]


def test_nested_maps_can_be_an_error(processes: Place) -> None:
    """`nested="error"` refuses a decorated map inside a worker."""
    function = at(processes, shapes.maps_inside, nested="error")
    with pytest.raises(procession.NestedParallelism, match="nested"):
        function.map([1, 2])


def test_a_decorated_function_as_an_argument(place: Place) -> None:
    """A decorated function is sent by its name, and is itself on the other side."""
    assert at(place, shapes.applies).starmap([(shapes.undecorated, 1)]) == [101]
    assert at(place, shapes.applies).starmap([(shapes.factorial, 5)]) == [120]
    assert at(place, shapes.applies).starmap([(shapes.Base(2).times, 5)]) == [10]


def test_pickling_by_reference_to_itself() -> None:
    """A decorated function pickles to itself, as an undecorated one does."""
    for function in (f.square, f.cube, f.doubled, f.negated, f.alone):
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.copy(function) is function
        assert copy.deepcopy(function) is function


def test_pickling_of_a_changed_copy() -> None:
    """A `with_options` copy pickles as the reference and the changes."""
    changed = f.square.with_options(timeout=7.0)
    again = pickle.loads(pickle.dumps(changed))
    assert again.options.timeout == 7.0
    assert again(3) == 9
    assert f.square.options.timeout is None


def test_pickling_of_a_bound_method() -> None:
    """A bound method pickles with its instance."""
    method = pickle.loads(pickle.dumps(shapes.Base(3).times))
    assert method(2) == 6


@pytest.mark.parametrize("decorator", DECORATORS)
def test_identity_is_kept(decorator: Any) -> None:
    """Name, doc, signature, module and `__wrapped__` are the function's own."""

    def original(x: int, *, y: str = "") -> float:
        """What it does."""
        return x + len(y)

    decorated = decorator(original)
    assert decorated.__name__ == "original"
    assert decorated.__qualname__ == original.__qualname__
    assert decorated.__doc__ == "What it does."
    assert decorated.__module__ == __name__
    assert decorated.__wrapped__ is original
    assert inspect.signature(decorated) == inspect.signature(original)
    assert decorated.local(1, y="ab") == 3


@pytest.mark.parametrize("decorator", DECORATORS)
def test_bare_and_with_options(decorator: Any) -> None:
    """Each decorator works bare, with empty brackets, and with options."""

    def identity(x: int) -> int:
        return x

    for decorated in (decorator(identity), decorator()(identity), decorator(workers=2)(identity)):
        assert decorated.local(3) == 3


@pytest.mark.parametrize("decorator", [parallel, parallel_map, parallel_chunks, background])
def test_coroutines_and_generators_are_refused(decorator: Any) -> None:
    """Four decorators refuse them at once, and say what to write instead."""

    async def coroutine() -> None:
        """Nothing."""

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    def generator() -> Iterator[int]:
        yield 1

    for function in (coroutine, generator, async_generator):
        with pytest.raises(TypeError, match="isolated"):
            decorator(function)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_the_wrong_order_is_refused(decorator: Any) -> None:
    """Ours goes outermost; the other order is refused with the mend."""

    class Wrong:
        def original(cls, x: int) -> int:
            return x

        method: Any = classmethod(decorator(original))

    with pytest.raises(TypeError, match="classmethod") as caught:
        Wrong.method(1)
    assert decorator.__name__ in str(caught.value)


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("thing", [3, "text", None, int])
def test_what_is_no_function_is_refused(decorator: Any, thing: object) -> None:
    """Decorating something else is refused at once."""
    with pytest.raises((TypeError, procession.OptionError)):
        decorator(thing, workers=2) if thing is None else decorator(thing)
