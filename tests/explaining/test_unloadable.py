"""What can be pickled and not rebuilt: where it sits, and what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procession.errors import NotPicklable
from procession.explaining.unloadable import explain_unloadable, locate
from procession.pickling.pickler import dumps, loads
from tests.support import hostile as h
from tests.support.things import Frozen, Pair, Record

BAD: dict[str, Callable[[], Any]] = {
    "made by a function": h.MadeByFunction,
    "state": lambda: h.Moody(False),
    "constructor": lambda: h.Demanding.__new__(h.Demanding, 1),
}

PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "itself": (lambda x: x, "job"),
    "second of a kind": (lambda x: [h.Moody(True), x, h.Moody(False)], "job[1]"),
    "attribute": (lambda x: h.Attributes(a={"k": [0, x]}), "job.a['k'][1]"),
    "dataclass": (lambda x: Record("a", x), "job.payload"),
    "frozen": (lambda x: Frozen(x), "job.payload"),
    "named tuple": (lambda x: Pair(1, x), "job.second"),
    "argument of a constructor": (lambda x: h.Holder([x]), "job.value[0]"),
    "key": (lambda x: {x: 1}, "list(job)[0]"),
    "set": (lambda x: {x}, "list(job)[0]"),
}


def told(job: Any, blob: bytes | None = None) -> NotPicklable:
    """The error of the receiver, completed by the sender."""
    blob = dumps(job) if blob is None else blob
    with pytest.raises(Exception) as caught:
        loads(blob)
    error = explain_unloadable(caught.value, where="argument", function="f", root="job", blob=blob)
    return locate(error, [("job", job)])


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("place", PLACES)
def test_the_place_is_found(kind: str, place: str) -> None:
    """The receiver finds the very object, and the sender its class."""
    culprit = BAD[kind]()
    put, path = PLACES[place]
    job = put(culprit)
    error = told(job)
    assert error.path == path
    assert eval(error.path, {"job": job}) is culprit
    assert error.culprit == f"tests.support.hostile.{type(culprit).__name__}"
    assert f"  {path}  →  {error.culprit}\n" in str(error)
    assert f"of {type(culprit).__name__}, so that" in str(error).replace("\n", " ")


def test_a_class_that_is_missing_there() -> None:
    """An object of a class that the receiver does not have is found, too."""
    job = {"a": [1, h.Attributes()]}
    error = told(job, dumps(job).replace(b"Attributes", b"Attributez"))
    assert error.path == "job['a'][1]"


def test_beside_large_buffers() -> None:
    """Buffers that left the pickle are no culprits."""
    numpy = pytest.importorskip("numpy")
    buffers: list[Any] = []
    blob = dumps([numpy.zeros(100_000), h.Moody(False)], "strict", buffers)
    assert buffers
    with pytest.raises(KeyError) as caught:
        loads(blob, buffers)
    error = explain_unloadable(caught.value, where="result", function="f", root="result", blob=blob)
    assert (error.path, error.culprit) == ("result[1]", "tests.support.hostile.Moody")


def test_several_arguments() -> None:
    """Of two arguments that look alike, the one that fails is named."""
    blob = dumps(((h.Moody(True),), {"more": (h.Moody(False), h.Moody(False))}))
    with pytest.raises(KeyError) as caught:
        loads(blob)
    error = explain_unloadable(
        caught.value,
        where="argument",
        function="f",
        root="argument",
        blob=blob,
        roots=lambda whole: [("first", whole[0][0]), *whole[1].items()],
    )
    assert error.path == "more[0]"
