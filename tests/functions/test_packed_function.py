"""What is sent for a function: never another one than was called."""

from __future__ import annotations

import functools
import importlib
import operator
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from procession.errors import NotPicklable
from procession.functions.loading import load_function
from procession.functions.packed_function import dump_function, reduce_decorated
from procession.pickling.pickler import dumps, loads
from tests.functions import hidden
from tests.support import things
from tests.support.far import Far, run_script


class Decorated:
    """As much of a decorated function as the wire looks at."""

    __procession_function__ = True

    def __init__(self, function: Any) -> None:
        self.__wrapped__ = function
        for name in functools.WRAPPER_ASSIGNMENTS:
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduce_decorated(self)


@Decorated
def decorated(number: int) -> int:
    """Decorated at the top of a module."""
    return number + 1


def plain(number: int) -> int:
    """Stays undecorated under its own name."""
    return number + 2


also_decorated = Decorated(plain)


def outer_wrapper(function: Any) -> Any:
    """Another library's decorator."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@outer_wrapper
@Decorated
def wrapped_from_outside(number: int) -> int:
    """Ours is below another decorator."""
    return number + 3


@Decorated
@outer_wrapper
def wrapped_inside(number: int) -> int:
    """Ours is above another decorator."""
    return number + 4


class Holder:
    """Decorated functions in a class."""

    @Decorated
    def method(self, number: int) -> int:
        """A method."""
        return number + 5

    @Decorated
    @staticmethod
    def static(number: int) -> int:
        """A staticmethod."""
        return number + 6

    @Decorated
    @classmethod
    def on_class(cls, number: int) -> int:
        """A classmethod."""
        return number + 7

    class Inner:
        """A method of the same name, one level down."""

        @Decorated
        def method(self, number: int) -> int:
            """Another method."""
            return number + 50


def here_and_back(decorated: Any) -> Any:
    """The function as a worker would find it."""
    return load_function(dump_function(decorated.__wrapped__, decorated))


def test_decorated_functions_go_by_reference() -> None:
    """Whatever stands between the name and the function, the worker gets the same function."""
    assert here_and_back(decorated) is decorated.__wrapped__
    assert here_and_back(also_decorated) is plain
    assert here_and_back(wrapped_inside) is wrapped_inside.__wrapped__
    ours = wrapped_from_outside.__wrapped__
    assert here_and_back(ours) is ours.__wrapped__


def test_methods_go_by_reference() -> None:
    """Methods, staticmethods and classmethods of nested classes are each found in their class."""
    for cls, name in (
        (Holder, "method"),
        (Holder, "static"),
        (Holder, "on_class"),
        (Holder.Inner, "method"),
    ):
        found = here_and_back(vars(cls)[name])
        raw = vars(cls)[name].__wrapped__
        assert found is getattr(raw, "__func__", raw)


def test_decorated_objects_pickle_to_themselves() -> None:
    """A decorated function sent as a value arrives as the same object."""
    assert loads(dumps(decorated)) is decorated
    assert loads(dumps([vars(Holder)["method"]])) == [vars(Holder)["method"]]


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (len, ([1],), 1),
        (operator.add, (1, 2), 3),
        (operator.itemgetter(1), ([1, 2],), 2),
        (functools.partial(things.double), (4,), 8),
        (things.Maker.make().scale, (4,), 12),
        (things.Maker.triple, (4,), 12),
        (things.Maker.Inner().scale, (4,), 400),
        (int, ("5",), 5),
        (str.upper, ("a",), "A"),
        ("abc".upper, (), "ABC"),
    ],
)
def test_callables_of_every_kind_run_there(function: Any, args: Any, result: Any) -> None:
    """Builtins, partials, bound methods and classes run in another process."""
    with Far() as far:
        assert far.call(function, *args) == result


def test_callables_with_a_state_are_fresh_each_time() -> None:
    """A bound method's instance is what was sent, not what an earlier call left of it."""
    load = dump_function([1].append)
    one: Any = load_function(load)
    other: Any = load_function(load)
    one(5)
    assert other.__self__ == [1]


def test_local_functions_are_refused_under_strict() -> None:
    """A closure is refused with the mend, and goes by value when asked."""
    inner = things.closure(3)
    with pytest.raises(NotPicklable, match='pickling="by-value"') as caught:
        dump_function(inner, None, "strict")
    assert caught.value.where == "function"
    assert "inner() cannot be sent to a worker" in str(caught.value)
    assert load_function(dump_function(inner, None, "by-value"))() == 3
    with pytest.raises(NotPicklable, match="A lambda cannot be sent to a worker"):
        dump_function(lambda: 1)


def test_what_a_function_holds_is_checked() -> None:
    """A lock in a closure, a default or a partial is named."""
    lock = threading.Lock()
    with pytest.raises(NotPicklable) as caught:
        dump_function(things.closure(lock), None, "by-value")
    assert caught.value.path == "inner.__closure__[0].cell_contents"
    assert caught.value.culprit == "_thread.lock"
    with pytest.raises(NotPicklable) as caught:
        dump_function(things.defaulting(lock), None, "by-value")
    assert caught.value.path == "inner.__defaults__[0]"
    with pytest.raises(NotPicklable) as caught:
        dump_function(functools.partial(print, lock))
    assert caught.value.path == "partial.args[0]"
    assert caught.value.where == "function"


def module_from(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a module written on the spot, which is forgotten after the test."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_redefined_function_is_never_mistaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function whose name means another one now is refused, or goes by value."""
    module = module_from(tmp_path, "wire_redefined", "def f(): return 1\n", monkeypatch)
    old = module.f
    exec("def f(): return 2", module.__dict__)
    with pytest.raises(NotPicklable, match=r"not what wire_redefined\.f is now"):
        dump_function(old)
    assert load_function(dump_function(old, None, "by-value"))() == 1
    assert load_function(dump_function(module.f))() == 2


def test_reloaded_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a reload the new function goes by name, and the old one if it is the same."""
    module = module_from(tmp_path, "wire_reloaded", "def f(): return 1\n", monkeypatch)
    old = module.f
    importlib.reload(module)
    assert load_function(dump_function(old)) is module.f
    (tmp_path / "wire_reloaded.py").write_text("def f(): return 12\n")
    importlib.reload(module)
    with pytest.raises(NotPicklable, match="reloaded"):
        dump_function(old)
    assert load_function(dump_function(module.f)) is module.f


def test_edited_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a worker's import gives a function from another line, it is not run."""
    module = module_from(tmp_path, "wire_edited", "def f(): return 1\n", monkeypatch)
    with Far() as far:
        (tmp_path / "wire_edited.py").write_text("\n\ndef f(): return 2\n")
        with pytest.raises(NotPicklable, match="not the same function"):
            far.call(module.f)


def test_two_modules_with_one_qualified_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call runs the function of its own module."""
    one = module_from(tmp_path, "wire_one", "def f(): return 1\n", monkeypatch)
    two = module_from(tmp_path, "wire_two", "def f(): return 2\n", monkeypatch)
    with Far() as far:
        assert (far.call(one.f), far.call(two.f), far.call(one.f)) == (1, 2, 1)


def test_path_that_workers_lack_is_sent_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module from a folder added to sys.path here is found there too."""
    module = module_from(tmp_path, "wire_new_folder", "def f(): return 5\n", monkeypatch)
    with Far() as far:
        assert far.call(module.f) == 5


def test_module_that_left_the_path_goes_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be imported any more goes by value, with its classes, both ways."""
    text = "class C: pass\ndef f(n): return helper(n), C()\ndef helper(n): return n + 1\n"
    module = module_from(tmp_path, "wire_left", text, monkeypatch)
    monkeypatch.setattr(sys, "path", [e for e in sys.path if e != str(tmp_path)])
    with Far() as far:
        number, thing = far.call(module.f, 1)
        assert number == 2
        assert type(thing) is module.C
        assert far.call(things.double, 2) == 4
        assert far.call(isinstance_there, module.C(), module.helper)


def isinstance_there(thing: Any, function: Any) -> bool:
    """Runs there: both came by value."""
    return type(thing).__name__ == "C" and function(1) == 2


def test_module_state_lives_on_between_calls(tmp_path: Path) -> None:
    """A by-value function keeps its globals there between calls, unless they change here."""
    script = """
from tests.support.far import Far
count = 0
def bump():
    global count
    count += 1
    return count
with Far() as far:
    assert [far.call(bump) for _ in range(3)] == [1, 2, 3]
    assert count == 0
    count = 10
    assert far.call(bump) == 11
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_notebook_cells(tmp_path: Path) -> None:
    """A function that a later cell redefined runs as it was when it was called."""
    script = """
from tests.support.far import Far
def f(): return helper()
def helper(): return 1
first = f
with Far() as far:
    assert far.call(f) == 1
    def helper(): return 2
    assert far.call(f) == 2
    def f(): return 3
    assert (far.call(f), far.call(first)) == (3, 2)
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_import_mode_importlib(tmp_path: Path) -> None:
    """Functions and classes of a test module under --import-mode=importlib run there."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_here.py").write_text(
        "from tests.support.far import Far\n"
        "class Thing: pass\n"
        "def helper(n): return n + 1\n"
        "def work(n): return helper(n), Thing()\n"
        "def apply(function, n): return function(n)\n"
        "def test_it():\n"
        "    with Far() as far:\n"
        "        number, thing = far.call(work, 1)\n"
        "        assert number == 2 and type(thing) is Thing\n"
        "        assert far.call(apply, helper, 5) == 6\n"
    )
    text = (
        "import sys, pytest\n"
        f"sys.exit(pytest.main(['-q', '--import-mode=importlib', '-p', 'no:cacheprovider', "
        f"{str(tmp_path)!r}]))\n"
    )
    assert "1 passed" in run_script(tmp_path, text, "run.py")


@pytest.mark.parametrize(
    ("call", "decorator"),
    [
        (lambda: hidden.mapped([1]), "timed"),
        (lambda: hidden.alone(1), "Timed"),
        (lambda: hidden.Shelf().method().result(), "timed"),
    ],
)
def test_a_decorator_above_ours_that_hides_it_is_named(call: Any, decorator: str) -> None:
    """Without `functools.wraps` the name leads to another object: the message says whose doing."""
    with pytest.raises(NotPicklable) as caught:
        call()

    assert f"which the decorator {decorator} hides" in str(caught.value)
    assert "functools.wraps" in str(caught.value)
    assert caught.value.where == "function"


def test_a_decorator_above_ours_with_wraps() -> None:
    """With it the name leads through the wrapper to the function."""
    assert hidden.fine([1, 2]) == [2, 3]
