"""Functions that cross for sure are known without being pickled, and no others are."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from procession import NotPicklable
from procession.functions.needs import surely_crosses
from procession.functions.packed_function import dump_function

SCRIPT = """
import math, threading
from procession import parallel_map
from procession.functions.packed_function import dump_function
from procession.functions.needs import surely_crosses

LIMIT, NAMES, LOCK = 3, ["a"], threading.Lock()
def plain(x, by=2): return x * by
def uses_number(x: int) -> float: return math.sqrt(x) + LIMIT
def uses_function(x): return uses_number(plain(x))
def recurses(x): return x and recurses(x - 1)
def has_inner(x): return [plain(y) for y in range(x)]
def uses_list(x): return NAMES[x]
def uses_lock(x):
    with LOCK: return x
def inner_uses_lock(x): return [LOCK for _ in range(x)]
def uses_user_of_lock(x): return uses_lock(x)
def has_default(x, lock=LOCK): return x
def annotated(x: LOCK): return x
def has_attribute(x): return x
has_attribute.lock = LOCK
@parallel_map
def decorated(x): return decorated.__name__
for name, each in list(globals().items()):
    inner = getattr(each, "__wrapped__", each)
    if type(inner) is not type(plain) or inner.__module__ != "__main__":
        continue
    try:
        dump_function(inner, each if each is not inner else None)
        crosses = True
    except Exception:
        crosses = False
    print(name, surely_crosses(inner, each if each is not inner else None), crosses)
"""


def test_functions_of_a_script() -> None:
    """Those that use builtins, modules, numbers and each other are sure; none is that cannot go."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    told = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}

    sure = {name for name, (surely, _) in told.items() if surely == "True"}
    assert sure == {
        *("plain", "uses_number", "uses_function", "recurses", "has_inner", "decorated")
    }
    assert {told[name][1] for name in sure} == {"True"}
    refused = {name for name, (_, crosses) in told.items() if crosses == "False"}
    assert refused >= {"uses_lock", "inner_uses_lock", "uses_user_of_lock", "has_default"}


def make() -> Callable[[Any], Any]:
    """A closure."""
    lock = threading.Lock()
    return lambda x: (x, lock)


@pytest.mark.parametrize("function", [math.sqrt, make(), len, dump_function])
def test_of_modules(function: Any) -> None:
    """What has a name is sure; a closure and what is no plain function are left to the pickler."""
    named = function is dump_function

    assert surely_crosses(function, None) is named
    if function.__name__ == "<lambda>":
        with pytest.raises(NotPicklable):
            dump_function(function)


SENT = """
import math, pickle, sys, os.path as paths
from procession import parallel_map
from procession.functions.needs import plain_function
LIMIT = 3
def plain(x, by=2, *, add: int = 1) -> float:
    "What it does."
    return math.sqrt(x) * by + add + LIMIT + len([y for y in range(x)])
def uses_function(x): return plain(x)
def recurses(x): return x and recurses(x - 1)
def uses_package(x): return xml.dom.minidom.Node
def uses_path(x): return paths.join("a", str(x))
import xml.dom.minidom
def is_loaded(_): return "cloudpickle" in sys.modules
def names(function):
    return [getattr(function, f"__{name}__") for name in ("name", "qualname", "module", "doc",
            "defaults", "kwdefaults", "annotations", "code", "closure")]

print(*(f.__name__ for f in (plain, uses_function, recurses, uses_package, uses_path, is_loaded)
        if plain_function(f)))
mapped = parallel_map(inline=False, workers=1)
print(mapped(plain)([4]) == [plain(4)], is_loaded(0))
here = pickle.loads(pickle.dumps(plain_function(plain)))
import cloudpickle
from procession.pickling.by_value import dumps_by_value
theirs = pickle.loads(dumps_by_value(plain, code=True))
print(names(here) == names(theirs) == names(plain), here.__globals__ == theirs.__globals__)
LIMIT = 4
print(mapped(plain)([4]) == [plain(4)])
"""


def test_functions_that_need_no_cloudpickle_are_made_again_as_by_it() -> None:
    """The caller does not load it for them, and globals that change are sent anew."""
    done = subprocess.run(
        [sys.executable, "-c", SENT], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.splitlines() == [
        "plain uses_path is_loaded",
        "True False",
        "True True",
        "True",
    ]
