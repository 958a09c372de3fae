"""What the decorators refuse, and that each refusal says what to write instead."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import procession
from procession import background, isolated, parallel, parallel_chunks, parallel_map
from procession.decoratable import kind

ALL = [parallel, parallel_map, parallel_chunks, background, isolated]
FOUR = [parallel, parallel_map, parallel_chunks, background]


def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


async def fetch(url: str) -> str:
    """An `async def` function."""
    return url


def stream(count: int) -> Iterator[int]:
    """A generator function."""
    yield from range(count)


async def events(count: int) -> AsyncIterator[int]:
    """An async generator function."""
    for number in range(count):
        yield number


class Shelf:
    """Methods under decorators in the wrong order, in a class that can be imported."""

    @classmethod
    @parallel_map
    def load(cls, key: str) -> str:
        """Wrong: classmethod above."""
        return key

    @staticmethod
    @background
    def save(key: str) -> str:
        """Wrong: staticmethod above."""
        return key

    @parallel
    @classmethod
    def name(cls) -> str:
        """Right."""
        return cls.__name__

    @parallel
    @staticmethod
    def size(number: int) -> int:
        """Right."""
        return number


@pytest.mark.parametrize("decorator", ALL, ids=lambda d: d.__name__)
def test_a_decorated_function_keeps_its_identity(decorator: Any) -> None:
    """Name, doc, module, signature and the function itself are those of the function."""
    decorated = decorator(double)

    assert decorated.__name__ == "double"
    assert decorated.__qualname__ == "double"
    assert decorated.__module__ == __name__
    assert decorated.__doc__ == "Twice the number."
    assert inspect.signature(decorated) == inspect.signature(double)
    assert decorated.__wrapped__ is double


@pytest.mark.parametrize("decorator", ALL, ids=lambda d: d.__name__)
def test_bare_with_brackets_and_with_options_give_the_same_kind(decorator: Any) -> None:
    """`@d`, `@d()`, `@d(workers=2)`, `d(workers=2)(f)` and `d(f, workers=2)` all decorate."""
    ways = [decorator(double), decorator()(double), decorator(workers=2)(double)]
    ways.append(decorator(double, workers=2))

    assert {type(way) for way in ways} == {type(ways[0])}
    assert [way.local(2) for way in ways] == [4, 4, 4, 4]
    assert [way.options.workers for way in ways[2:]] == [2, 2]


@pytest.mark.parametrize("decorator", ALL, ids=lambda d: d.__name__)
def test_a_bad_option_is_refused_before_there_is_a_function(decorator: Any) -> None:
    """Options are checked where they are written, not where the function is called."""
    with pytest.raises(procession.OptionError, match=rf"{decorator.__name__}\(.*workers"):
        decorator(worker=2)


@pytest.mark.parametrize(
    ("value", "mend"),
    [
        (4, "@parallel_map(workers=4)"),
        (2.5, "@parallel_map(timeout=2.5)"),
        ("thread", "@parallel_map(backend='thread')"),
        ("spawn", "@parallel_map(context='spawn')"),
        ({"workers": 2}, "@parallel_map(**{'workers': 2})"),
        (None, "@parallel_map(workers=4)"),
        ([1, 2], "@parallel_map(workers=4)"),
    ],
)
def test_an_option_by_position_is_refused_with_its_name(value: Any, mend: str) -> None:
    """`@parallel_map(4)` says `@parallel_map(workers=4)`."""
    with pytest.raises(TypeError) as caught:
        parallel_map(value)

    assert f"parallel_map({value!r})" in str(caught.value)
    assert mend in str(caught.value)


def test_several_values_by_position_are_all_named() -> None:
    """Each positional value is given the name of the option it was meant for."""
    many: Any = parallel_map

    with pytest.raises(TypeError, match=r"Write @parallel_map\(workers=2, context='fork'\)"):
        many(2, "fork")
    with pytest.raises(
        TypeError, match=r"parallel_map\(double, \[1\]\) has more than the function"
    ):
        many(double, [1])


@pytest.mark.parametrize("decorator", ALL, ids=lambda d: d.__name__)
def test_a_class_is_refused(decorator: Any) -> None:
    """A class is no function: decorate a method, or a function that makes the object."""
    with pytest.raises(TypeError, match=r"on the class Shelf.*\n.*\n.*\n +return Shelf\("):
        decorator(Shelf)


@pytest.mark.parametrize("decorator", ALL, ids=lambda d: d.__name__)
def test_a_property_is_refused(decorator: Any) -> None:
    """A property takes no arguments to run with."""
    with pytest.raises(TypeError, match="above @property"):
        decorator(property(double))


@pytest.mark.parametrize("decorator", FOUR, ids=lambda d: d.__name__)
@pytest.mark.parametrize(
    ("function", "words"),
    [(fetch, "`def fetch`"), (stream, "Return a list"), (events, "under @isolated")],
)
def test_what_is_no_plain_function_is_refused(
    decorator: Any, function: Callable[..., Any], words: str
) -> None:
    """All but `@isolated` refuse coroutines and generators, below classmethod too."""
    for written in (function, classmethod(function), staticmethod(function)):
        with pytest.raises(TypeError) as caught:
            decorator(written)

        assert f"{function.__name__}() is a" in str(caught.value)
        assert words in str(caught.value)
        assert "@isolated" in str(caught.value)


def test_isolated_takes_coroutines_and_generators() -> None:
    """Those are what `@isolated` is for; async generators have no place anywhere."""
    assert isolated(fetch).__wrapped__ is fetch
    assert isolated(stream).__wrapped__ is stream
    with pytest.raises(TypeError, match="no decorator takes those"):
        isolated(events)


@pytest.mark.parametrize("decorator", ALL, ids=lambda d: d.__name__)
def test_decorating_twice_is_refused(decorator: Any) -> None:
    """One decorator is enough: the message names with_options and `__wrapped__`."""
    with pytest.raises(TypeError, match=r"decorated already.*double\.with_options"):
        decorator(parallel(double))
    with pytest.raises(TypeError, match="decorated below @staticmethod"):
        decorator(staticmethod(parallel(double)))
    with pytest.raises(TypeError, match="decorated already"):
        decorator(Shelf.size)

    assert decorator(parallel(double).__wrapped__).local(2) == 4


def wrong_order_in_a_function() -> Any:
    """A class that cannot be found by name, with its decorators in the wrong order."""

    class Local:
        @classmethod
        @parallel
        def load(cls, key: str) -> str:
            return key

        @staticmethod
        @background
        def save(key: str) -> str:
            return key

    return Local


@pytest.mark.parametrize("make", [lambda: Shelf, wrong_order_in_a_function], ids=["named", "local"])
@pytest.mark.parametrize(
    "use",
    [
        lambda cls: cls.load("a"),
        lambda cls: cls().load("a"),
        lambda cls: cls.load.map(["a"]),
        lambda cls: cls.load.submit("a"),
        lambda cls: cls.load.with_options(workers=1).map(["a"]),
    ],
    ids=["call", "instance", "map", "submit", "copy"],
)
def test_classmethod_above_is_refused(make: Callable[[], Any], use: Callable[[Any], Any]) -> None:
    """Whatever is done with it first: the message shows the right order."""
    with pytest.raises(TypeError) as caught:
        use(make())

    assert "load() has @classmethod above @parallel" in str(caught.value)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines[0].startswith("@parallel")
    assert lines[1:] == ["@classmethod", "def load(cls, …)"]


@pytest.mark.parametrize("make", [lambda: Shelf, wrong_order_in_a_function], ids=["named", "local"])
def test_staticmethod_above_is_refused(make: Callable[[], Any]) -> None:
    """As with classmethod, through the class and through an instance."""
    for place in (make(), make()()):
        with pytest.raises(TypeError, match="save\\(\\) has @staticmethod above @background"):
            place.save("a")


def test_the_right_order_is_not_refused() -> None:
    """Ours outermost, through class and instance, also when the class is local."""
    assert Shelf.name() == Shelf().name() == "Shelf"
    assert Shelf.size(3) == Shelf().size(3) == 3


class Doubler:
    """An object that is called like a function."""

    def __call__(self, number: int) -> int:
        """Twice the number."""
        return 2 * number


class AsyncCallable:
    """An object whose call is a coroutine."""

    async def __call__(self) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (double, "function"),
        (len, "function"),
        (Doubler(), "function"),
        (functools.partial(double, 1), "function"),
        (fetch, "coroutine"),
        (functools.partial(functools.partial(fetch), "a"), "coroutine"),
        (AsyncCallable(), "coroutine"),
        (staticmethod(fetch), "coroutine"),
        (stream, "generator"),
        (functools.wraps(stream)(lambda count: list(stream(count))), "function"),
        (events, "async generator"),
    ],
)
def test_kind_tells_what_a_call_gives(function: Any, expected: str) -> None:
    """Through partials, callable objects and staticmethods, but not through a wrapper."""
    assert kind(function) == expected


def test_callables_that_are_no_functions_decorate() -> None:
    """Builtins, partials and callable objects have the verbs too."""
    assert parallel(len).local("abc") == 3
    assert parallel(functools.partial(double, 4))() == 8
    assert parallel(Doubler())(4) == 8
