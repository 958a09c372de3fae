"""Paths in Python's own syntax: each, evaluated, leads to the culprit."""

from __future__ import annotations

import collections
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from procession.errors import NotPicklable
from procession.explaining.explain import explain
from procession.pickling.pickler import dumps
from tests.support import hostile as h


def put(attribute: str, on: Any) -> Callable[[Any], Any]:
    """Makes a holder of an object with an attribute of any name."""

    def make(culprit: Any) -> Any:
        setattr(on, attribute, culprit)
        return on

    return make


HOLDERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "keyword as attribute": (put("class", h.Attributes()), "job.__dict__['class']"),
    "name that is none": (put("a b", h.Attributes()), "job.__dict__['a b']"),
    "private": (put("_A__b", h.Attributes()), "job._A__b"),
    "nan as key": (lambda x: {float("nan"): x}, "list(job.values())[0]"),
    "infinity as key": (lambda x: {float("inf"): x}, "list(job.values())[0]"),
    "number as key": (lambda x: {-1.5: x}, "job[-1.5]"),
    "tuple as key": (lambda x: {(1, ("a", None)): x}, "job[(1, ('a', None))]"),
    "object in a key": (lambda x: {(1, h.Attributes()): x}, "list(job.values())[0]"),
    "angle brackets": (lambda x: {"<a>": x}, "job['<a>']"),
    "quote": (lambda x: {"it's": x}, 'job["it\'s"]'),
    "long key": (lambda x: {"k" * 300: x}, "list(job.values())[0]"),
    "class as key": (lambda x: {int: x}, "list(job.values())[0]"),
    "inside a key": (lambda x: {(1, x): 2}, "list(job)[0][1]"),
    "subclass of tuple": (lambda x: h.OfTuple([1, x]), "job[1]"),
    "its attribute": (lambda x: put("a", h.OfTuple([1]))(x), "job.a"),
    "counter": (lambda x: h.Tally([x]), "list(job)[0]"),
    "ordered": (lambda x: collections.OrderedDict(k=x), "job['k']"),
    "chained": (lambda x: collections.ChainMap({}, {"k": x}), "job.maps[1]['k']"),
    "appended": (h.Stack, "list(job.__reduce__()[3])[0]"),
    "set": (lambda x: h.Registry(k=x), "list(job.__reduce__()[4])[0][1]"),
    "state of reduce": (h.StateOfReduce, "job.__reduce__()[2]['other']"),
    "default factory": (
        lambda x: collections.defaultdict(functools.partial(print, x)),
        "job.default_factory.args[0]",
    ),
    "exception": (lambda x: ValueError(1, x), "job.args[1]"),
    "group": (lambda x: ExceptionGroup("g", [KeyError(x)]), "job.exceptions[0].args[0]"),
    "slice": (lambda x: slice(1, x), "job.stop"),
    "method": (lambda x: [x].append, "job.__self__[0]"),
}


def refused(job: Any) -> NotPicklable:
    """The error for an argument that cannot be pickled."""
    with pytest.raises(Exception) as caught:
        dumps(job)
    return explain(caught.value, job, where="argument", function="f", root="job")


@pytest.mark.parametrize("holder", HOLDERS)
def test_leads_to_the_culprit(holder: str) -> None:
    """The path is the expected one, and evaluates to the culprit itself."""
    make, path = HOLDERS[holder]
    culprit = threading.Lock()
    job = make(culprit)
    error = refused(job)
    assert error.path == path
    assert eval(error.path, {"job": job}) is culprit
    assert error.culprit == "_thread.lock"


@pytest.mark.parametrize("index", [(4,), (1, 2), (1, 0, 1)])
def test_arrays_of_any_dimension(index: tuple[int, ...]) -> None:
    """An element of an array of objects is named by its indexes."""
    numpy = pytest.importorskip("numpy")
    job = numpy.zeros([i + 1 for i in index], dtype=object)
    job[index] = culprit = threading.Lock()
    error = refused(job)
    assert error.path == f"job[{', '.join(map(str, index))}]"
    assert eval(error.path, {"job": job}) is culprit


def test_a_class_that_says_it_is_another() -> None:
    """An object whose ``__class__`` lies is itself the culprit, and both classes are told."""
    error = refused([h.SaysDict()])
    assert error.path == "job[0]"
    assert error.culprit == "tests.support.hostile.SaysDict"
    assert "__class__ says builtins.dict" in str(error)


def test_a_proxy_to_the_base_class() -> None:
    """``super()`` objects, which pass for instances, are refused where they are."""
    error = refused([super(h.Attributes, h.Attributes())])
    assert (error.path, error.culprit) == ("job[0]", "builtins.super")


def test_types_of_c_that_have_no_name() -> None:
    """The object is to blame, not its class, and no mend is offered that cannot work."""
    import csv
    import zlib

    for culprit in (zlib.compressobj(), csv.reader([])):
        message = str(refused([culprit]))
        assert "cannot be pickled" in message
        assert "by-value" not in message
        assert "__reduce__" not in message


def test_a_class_under_another_name() -> None:
    """A class that its module holds under another name is told as such."""
    error = refused([h.Misnamed(1)])
    assert "which tests.support.hostile does not hold under that name" in str(error)
    assert "it leads nowhere" in str(error)


def test_code_that_exits_while_it_is_pickled() -> None:
    """``sys.exit`` in an object's own reducer is told like any other failure of it."""
    job = [h.ExitsWhenPickled()]
    error = explain(SystemExit(4), job, where="argument", function="f", root="job")
    assert error.path == "job[0]"
    assert "ExitsWhenPickled.__reduce__ raised SystemExit: 4." in str(error)


def test_where_tblib_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """distributed registers tblib's reducers on import: paths and refusals stay as they are."""
    import copyreg

    tblib = pytest.importorskip("tblib.pickling_support")
    monkeypatch.setattr(copyreg, "dispatch_table", dict(copyreg.dispatch_table))
    tblib.install()
    for holder in ("exception", "group"):
        test_leads_to_the_culprit(holder)
