"""A decorated function is to other code what the bare one was: its attributes, copies and names."""

from __future__ import annotations

import abc
import copy
import dataclasses
import doctest
import functools
import inspect
import pickle
import sys
import typing
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable
from unittest import mock

import pytest

from procession import background, isolated, parallel, parallel_chunks, parallel_map

ALL = [parallel, parallel_map, parallel_chunks, background, isolated]
VERBS = {
    *("local", "submit", "map", "starmap", "imap", "imap_unordered", "outcomes", "map_async"),
    *("aimap", "with_options", "options"),
}


def bare(number: int = 2, *, word: str = "a") -> str:
    """Say it.

    >>> bare(3)
    '3a'
    """
    return f"{number}{word}"


@dataclasses.dataclass
class Shelf:
    """Decorated methods of each kind."""

    name: str = "top"

    @parallel
    def read(self, key: int) -> str:
        """Read it."""
        return f"{self.name}{key}"

    @parallel(workers=2)
    @classmethod
    def opened(cls, key: int) -> str:
        """Open it."""
        return f"{cls.__name__}{key}"

    @parallel
    @staticmethod
    def sized(key: int) -> int:
        """Size it."""
        return key

    label = property(lambda self: self.read(1))


shelf = Shelf()
BOUND = [
    pytest.param(lambda: shelf.read, id="method"),
    pytest.param(lambda: Shelf.read, id="through the class"),
    pytest.param(lambda: Shelf.opened, id="classmethod"),
    pytest.param(lambda: Shelf.sized, id="staticmethod"),
]

COPIED = [
    *("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "__defaults__"),
    *("__kwdefaults__", "__code__", "__globals__", "__closure__", "__dict__"),
]


@pytest.mark.parametrize("decorator", ALL, ids=lambda d: d.__name__)
@pytest.mark.parametrize("attribute", COPIED)
def test_attributes_are_the_functions_own(decorator: Any, attribute: str) -> None:
    """Each attribute of a decorated function is the object that the bare function has."""
    assert getattr(decorator(bare), attribute) is getattr(bare, attribute)


@pytest.mark.parametrize("bound", BOUND)
def test_attributes_of_bound_ones_are_the_methods_own(bound: Callable[[], Any]) -> None:
    """The same for methods, however they are reached."""
    for attribute in COPIED:
        assert getattr(bound(), attribute) == getattr(bound().__wrapped__, attribute)
    assert bound().__annotations__["key"] == "int"


def test_annotations_are_found_and_can_be_set() -> None:
    """`typing` and `inspect` read the function's annotations; setting them sets those."""

    def own(number: int) -> str:
        return str(number)

    decorated = parallel(own)
    classes: Any = (type(decorated), type(shelf.read))
    assert all(each.__annotations__ == {} for each in classes)  # asking must not hide them

    assert typing.get_type_hints(decorated) == {"number": int, "return": str}
    assert inspect.get_annotations(decorated, eval_str=True) == {"number": int, "return": str}
    assert inspect.signature(decorated, eval_str=True).return_annotation is str
    assert typing.get_type_hints(shelf.read) == {"key": int, "return": str}
    assert typing.get_type_hints(Shelf.opened) == {"key": int, "return": str}

    decorated.__annotations__ = {"number": float}
    assert own.__annotations__ == {"number": float}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters are of Python 3.12")
def test_type_parameters_are_the_functions_own() -> None:
    """`__type_params__` is forwarded."""
    names: dict[str, Any] = {}
    exec("def first[T](items: list[T]) -> T: return items[0]", names)

    decorated: Any = parallel(names["first"])
    assert decorated.__type_params__ == names["first"].__type_params__ != ()


def test_singledispatch_registers_by_annotation() -> None:
    """`register` reads the type from a decorated function, and from a decorated method."""

    @functools.singledispatch
    def kind(value: object) -> str:
        return "object"

    @kind.register
    @parallel
    def _(value: int) -> str:
        return "int"

    class Kinds:
        @functools.singledispatchmethod
        def of(self, value: object) -> str:
            return "object"

        @of.register
        @parallel
        def _(self, value: int) -> str:
            return "int"

    assert (kind("a"), kind(1)) == ("object", "int")
    assert (Kinds().of("a"), Kinds().of(1)) == ("object", "int")


def test_typer_reads_a_decorated_command() -> None:
    """Typer finds the parameters' types and the help text."""
    typer = pytest.importorskip("typer")
    from typer.testing import CliRunner

    app: Any = typer.Typer()
    seen = []

    @parallel
    def command(number: int, loud: bool = False) -> None:
        """Count."""
        seen.append((number, loud))

    app.command()(command)
    assert CliRunner().invoke(app, ["3", "--loud"]).exit_code == 0
    assert seen == [(3, True)]


def test_copies() -> None:
    """A function stays itself, as functions do; a method goes with its copied object."""
    decorated = parallel(bare)
    assert copy.copy(decorated) is decorated
    assert copy.deepcopy([decorated])[0] is decorated

    mine = Shelf("mine")
    assert copy.copy(mine.read) == mine.read
    other = copy.deepcopy(mine.read)
    mine.name = "changed"
    assert (other(1), mine.read(1), other.map([1])) == ("mine1", "changed1", ["mine1"])
    assert copy.deepcopy(Shelf.opened)(1) == copy.copy(Shelf.opened)(1) == "Shelf1"
    assert copy.deepcopy(Shelf.sized)(1) == 1
    assert copy.deepcopy(Shelf.read)(shelf, 1) == "top1"


class Librarian(type):
    """A metaclass, of which a class is an instance."""

    @parallel(workers=2)
    def founded(cls, year: int) -> str:
        """A method of the class, as an object."""
        return f"{cls.__name__}{year}"


class Library(metaclass=Librarian):
    """Has a method of its metaclass."""


def test_methods_of_a_metaclass() -> None:
    """They are bound to the class as to any instance, also in copies and pickles."""
    founded: Any = Library.founded
    assert founded(1) == "Library1"
    assert founded.with_options(inline=False).map([1, 2]) == ["Library1", "Library2"]
    assert pickle.loads(pickle.dumps(founded)).map([1]) == ["Library1"]
    assert copy.deepcopy(founded)(3) == "Library3"


def test_weak_references() -> None:
    """`weakref.ref` of a function, and `WeakMethod` of a method and of a classmethod."""
    decorated = parallel(bare)
    assert weakref.ref(decorated)() is decorated
    mine = Shelf("mine")
    method = weakref.WeakMethod(mine.read)
    opened = weakref.WeakMethod(Shelf.opened)
    found, of_class = method(), opened()
    assert found is not None
    assert of_class is not None
    assert found.map([1, 2]) == ["mine1", "mine2"]
    assert found == mine.read
    assert method == weakref.WeakMethod(mine.read)
    assert of_class.options.workers == 2
    assert of_class(3) == "Shelf3"

    del found, mine
    assert method() is None


def test_a_methods_function_is_what_the_class_holds() -> None:
    """`__func__` is the decorated function, as for other methods; `__self__` the object."""
    method: Any = shelf.read
    assert method.__func__ is vars(Shelf)["read"]
    assert method.__self__ is shelf
    assert method.__func__(shelf, 1) == "top1"
    assert shelf.read == shelf.read
    assert hash(shelf.read) == hash(shelf.read)
    assert pickle.loads(pickle.dumps(shelf.read)).map([1]) == ["top1"]


@pytest.mark.parametrize("decorator", ALL, ids=lambda d: d.__name__)
def test_dir_shows_the_verbs(decorator: Any) -> None:
    """Completion, and `create_autospec`, find the verbs beside the function's attributes."""
    decorated = decorator(bare)
    assert set(dir(decorated)) >= VERBS | set(dir(bare))
    assert not [name for name in dir(decorated) if name.startswith("_self_")]
    assert set(dir(shelf.read)) >= VERBS

    double = mock.create_autospec(decorated)
    double.map.return_value = ["a"]
    assert double.map([1]) == ["a"]
    double(number=1)
    with pytest.raises(TypeError):
        double(nothing=1)


def test_repr_says_what_it_is() -> None:
    """Function, decorator, the options that were given, and what a method is bound to."""
    assert repr(parallel(bare)) == str(parallel(bare)) == "<parallel function bare>"
    with_options = parallel_map(bare, workers=2, retries=0).with_options(timeout=3)
    assert repr(with_options) == "<parallel_map(workers=2, timeout=3.0) function bare>"
    assert repr(shelf.read) == "<parallel method Shelf.read of Shelf(name='top')>"
    assert repr(Shelf.read) == "<parallel function Shelf.read>"
    assert repr(Shelf.opened) == "<parallel(workers=2) classmethod Shelf.opened>"
    assert repr(shelf.sized) == "<parallel staticmethod Shelf.sized>"


def test_wraps_copies_nothing_of_ours() -> None:
    """The user's own wrapper gets the function's attributes, and none of Procession's."""

    def own() -> None:
        """Own."""

    own.mark = 1  # type: ignore[attr-defined]
    decorated = parallel(own)

    @functools.wraps(decorated)
    def wrapper() -> None: ...

    assert vars(wrapper) == {"mark": 1, "__wrapped__": decorated}
    assert wrapper.__doc__ == "Own."
    assert inspect.unwrap(wrapper) is own
    assert vars(functools.wraps(shelf.read)(lambda: None)) == {"__wrapped__": shelf.read}


def test_a_decorator_above_ours_may_set_attributes() -> None:
    """What it sets is set on the function, and `update_wrapper` changes no code that runs."""

    def own(number: int = 2, *, word: str = "a") -> str:
        return "own"

    decorated: Any = functools.update_wrapper(parallel(own), bare)
    decorated.mark = 1

    assert vars(own)["mark"] == vars(decorated)["mark"] == 1
    assert (decorated.__name__, own.__name__) == ("bare", "bare")
    assert decorated() == decorated.with_options(backend="serial").submit().result() == "own"
    assert inspect.unwrap(decorated) is bare
    assert inspect.signature(decorated) == inspect.signature(bare)


def test_partial_and_partialmethod() -> None:
    """`functools.partial` of one, and `partialmethod` over one."""

    class Desk:
        @parallel
        def write(self, word: str, end: str) -> str:
            return word + end

        shout = functools.partialmethod(write, end="!")

    assert functools.partial(parallel(bare), word="b")(1) == "1b"
    assert Desk().shout("a") == "a!"


def test_abstract_methods() -> None:
    """`abstractmethod` counts below our decorator and above it."""

    class Below(abc.ABC):
        @parallel
        @abc.abstractmethod
        def run(self) -> int: ...

    class Above(abc.ABC):
        @abc.abstractmethod
        @parallel
        def run(self) -> int: ...

    for base in (Below, Above):
        assert base.__abstractmethods__ == {"run"}
        with pytest.raises(TypeError, match="abstract"):
            base()  # type: ignore[abstract]

    class Done(Below):
        @parallel
        def run(self) -> int:
            return 3

    assert Done().run() == 3


def test_protocols_properties_and_data_classes() -> None:
    """A runtime protocol sees a decorated method; a property may call one; fields stay fields."""

    @runtime_checkable
    class Readable(Protocol):
        def read(self, key: int) -> str: ...

    class Cached:
        @functools.cached_property
        @parallel
        def value(self) -> int:
            return 3

        @property
        @parallel
        def doubled(self) -> int:
            return 6

    assert isinstance(shelf, Readable)
    assert shelf.label == "top1"
    assert [field.name for field in dataclasses.fields(Shelf)] == ["name"]
    assert (Cached().value, Cached().doubled) == (3, 6)


def test_inspect_tells_coroutines_and_generators() -> None:
    """What `inspect` says of the function it says of the isolated one, also of methods."""

    async def fetch() -> int:
        return 1

    def stream() -> Iterator[int]:
        yield 1

    class Client:
        @isolated
        async def fetch(self) -> int:
            return 1

        @isolated
        @classmethod
        async def opened(cls) -> int:
            return 1

    for given in (isolated(fetch), Client().fetch, Client.fetch, Client.opened):
        assert inspect.iscoroutinefunction(given)
    assert inspect.isgeneratorfunction(isolated(stream))
    assert not inspect.iscoroutinefunction(parallel(bare))
    function: Any = parallel(bare)
    method: Any = shelf.read
    assert inspect.isfunction(function)
    assert inspect.ismethod(method)
    assert inspect.unwrap(parallel(bare)) is bare
    assert inspect.getsource(parallel(bare)) == inspect.getsource(bare)


def test_doctest_finds_the_examples() -> None:
    """A decorated function's examples are collected and run, once."""
    module = type(sys)("examples_of_one")
    exec(
        "from procession import parallel\n@parallel\ndef two():\n    '''\n    >>> two()\n    2\n"
        "    '''\n    return 2\n",
        module.__dict__,
    )
    results = doctest.testmod(module)

    assert (results.attempted, results.failed) == (1, 0)


NAMES = [
    *("self", "cls", "items", "item", "args", "kwargs", "func", "function", "fn", "instance"),
    *("wrapped", "owner", "call", "value", "options", "name", "key", "argtuples", "error", "style"),
    *("header", "job", "index", "target", "verb"),
]


def keywords(first: int, **given: int) -> tuple[int, dict[str, int]]:
    """What it was given."""
    return first, given


@pytest.mark.parametrize("backend", ["process", "thread", "serial", "loky", "stdlib"])
def test_no_keyword_of_the_users_is_ours(backend: str) -> None:
    """Every verb hands on keywords of any name, here and in workers."""
    given = {name: place for place, name in enumerate(NAMES)}
    expected = (1, given)
    decorated: Any = parallel(keywords, backend=backend, workers=1)

    assert decorated(1, **given) == decorated.local(1, **given) == expected
    assert decorated.submit(1, **given).result() == expected
    assert decorated.map([1], **given) == [expected]
    assert decorated.starmap([(1,)], **given) == [expected]
    assert list(decorated.imap([1], **given)) == [expected]
    assert list(decorated.imap_unordered([1], **given)) == [expected]
    assert next(decorated.outcomes([1], **given)).value == expected
    assert decorated.map_async([1], **given).result() == [expected]


@pytest.mark.parametrize("decorator", ALL, ids=lambda d: d.__name__)
def test_no_keyword_of_the_users_is_ours_in_a_plain_call(decorator: Any) -> None:
    """A plain call of each decorator hands on keywords of any name, of methods as well."""
    given = {name: place for place, name in enumerate(NAMES)}

    def listed(first: Any, **given: int) -> Any:
        return [sorted(given)]

    class Desk:
        def _listed(this, first: Any, **given: int) -> Any:
            return [sorted(given)]

        listed: Any = decorator(_listed, backend="serial")

    for function in (decorator(listed, backend="serial"), Desk().listed):
        answer = function([1], **given)
        answer = answer.result() if decorator is background else answer
        assert sorted(NAMES) in (answer, *answer, *answer[0])
