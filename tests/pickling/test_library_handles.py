"""What is said of handles of well-known libraries, and of what stands beside the culprit."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import numpy
import pytest

from procession.errors import NotPicklable
from procession.explaining.explain import explain
from procession.functions.packed_function import dump_function
from procession.pickling.pickler import dumps
from procession.pickling.refused_types import HANDLES, TABLE
from tests.support.far import run_script


def refused(obj: Any) -> NotPicklable:
    """Pickle, which must fail, and explain."""
    with pytest.raises(Exception) as caught:
        dumps(obj)
    return explain(caught.value, obj, where="argument", function="work", root="job")


def handle_of(name: str) -> Any:
    """An object like a library's, with what such objects hold."""
    module, _, qualname = name.rpartition(".")

    def initialize(self: Any) -> None:
        self.lock, self.reference = threading.Lock(), weakref.ref(threading.current_thread())

    base = type(qualname, (), {"__module__": module, "__init__": initialize})
    return type("Derived", (base,), {"__module__": "tests.support.things"})()


@pytest.mark.parametrize("name", sorted(HANDLES))
def test_handles_are_told_as_such(name: str) -> None:
    """The message names the handle, not a lock in it, and says where to open it."""
    error = refused({"client": handle_of(name)})
    assert error.path == "job['client']"
    assert f"holds {TABLE[name].what}\n" in str(error)
    assert "per_worker(factory)" in str(error)
    assert "inside the function" in " ".join(str(error).split())


def test_array_beside_the_culprit() -> None:
    """An array large enough to be written from its memory is not to blame."""
    text = str(refused([numpy.ones(40_000), threading.Lock(), numpy.ones(3_000)]))
    assert "job[1]  →  _thread.lock" in text
    assert "PickleBuffer" not in text


def test_mapped_class_of_a_script() -> None:
    """A class that SQLAlchemy maps is refused in one line, if it would go by value."""
    base = type("DeclarativeBase", (), {"__module__": "sqlalchemy.orm.decl_api"})
    space = {"__module__": "__main__", "manager": weakref.WeakValueDictionary()}
    user = type("User", (base,), space)
    for obj in (user, user()):
        error = refused(obj)
        assert "the SQLAlchemy class User, which is defined in __main__" in str(error)
        assert "in a module of their own" in str(error)
        assert "weak" not in str(error)
    globals_: dict[str, Any] = {"__name__": "__main__", "User": user}
    exec("def f(): return User()", globals_)
    with pytest.raises(NotPicklable, match="the SQLAlchemy class User"):
        dump_function(globals_["f"])


def test_handle_that_a_module_holds(tmp_path: Path) -> None:
    """A script's function may use an engine that its own module makes: each worker has its own."""
    (tmp_path / "own_engine.py").write_text(
        "import threading\n"
        "class Engine:\n"
        "    def __init__(self): self.lock = threading.Lock()\n"
        "    def run(self): return 5\n"
        "Engine.__module__ = 'sqlalchemy.engine.base'\n"
        "engine = Engine()\n"
    )
    script = """
from own_engine import engine
from tests.support.far import Far
def use(): return engine.run()
with Far() as far: assert far.call(use) == 5
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"
