"""numpy arrays that several processes see and write."""

from __future__ import annotations

import gc
import mmap
import os
import pickle
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from procession import parallel, shared
from procession.pickling.pickler import dumps, loads
from procession.shared import arrays
from tests.support.waiting import wait_until

BACKENDS = ["process", "loky", "stdlib"]


def mark(index: int, array: Any) -> None:
    """Write where nobody else does."""
    array[index] = index + 1


def add(array: Any) -> Any:
    """Change its argument, and send it back."""
    array += 100
    return array


def inside(index: int, held: dict[str, Any]) -> None:
    """Write into an array that is somewhere in an argument."""
    held["deep"][0][index] = 7


@pytest.mark.parametrize("backend", BACKENDS)
def test_writes_are_seen_by_all(backend: Any) -> None:
    """Each item writes its own element, and the caller sees all of them."""
    array = shared.zeros(20)
    parallel(workers=2, inline=False, backend=backend)(mark).map(range(20), array)
    assert array.tolist() == [float(index + 1) for index in range(20)]
    assert type(array) is np.ndarray


@pytest.mark.parametrize("backend", ["thread", "serial"])
def test_where_nothing_is_sent(backend: Any) -> None:
    """Threads and the caller itself use the very array."""
    array = shared.zeros(5, "i4")
    parallel(backend=backend)(mark).map(range(5), array)
    assert array.tolist() == [1, 2, 3, 4, 5]


def test_views_are_shared_too() -> None:
    """Slices, reversed and transposed views, fields, and arrays inside an argument."""
    work = parallel(workers=2, inline=False, backend="process")
    matrix = shared.array(np.arange(12).reshape(3, 4))
    work(add).map([matrix[0, ::-1], matrix[1:2, 1:3], matrix.T[3, 2:]])
    assert matrix.tolist() == [[100, 101, 102, 103], [4, 105, 106, 7], [8, 9, 10, 111]]
    fields = shared.zeros(3, [("x", "i4"), ("y", "f8")])
    work(add).map([fields["y"]])
    assert fields["y"].tolist() == [100.0] * 3
    assert fields["x"].tolist() == [0] * 3
    work(inside).map(range(2), {"deep": [matrix[2]]})
    assert matrix[2].tolist() == [7, 7, 10, 111]


def test_results_are_the_same_memory() -> None:
    """An array that comes back is the caller's own memory, not a copy of it."""
    array = shared.array(np.arange(6.0))
    (back,) = parallel(workers=1, inline=False, backend="process")(add).map([array[2:4]])
    back[0] = -1
    assert array.tolist() == [0, 1, -1, 103, 4, 5]


def test_shape_order_and_flags_survive() -> None:
    """Fortran order, no dimension, no element, read-only."""
    fortran = shared.array(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    assert fortran.flags.f_contiguous
    assert loads(dumps(fortran)).strides == fortran.strides
    single, empty = shared.zeros((), "i8"), shared.zeros((0, 3))
    loads(dumps(single))[...] = 5
    assert int(single) == 5
    assert loads(dumps(empty)).shape == (0, 3)
    view = fortran[0]
    view.flags.writeable = False
    assert not loads(dumps(view)).flags.writeable


def test_a_data_frame_on_shared_memory() -> None:
    """pandas pickles the array inside as an address too."""
    pandas = pytest.importorskip("pandas")
    array = shared.zeros((3, 2))
    frame = loads(dumps(pandas.DataFrame(array, copy=False)))
    array[0, 0] = 9
    assert frame.iloc[0, 0] == 9


def test_arithmetic_gives_ordinary_arrays() -> None:
    """What is computed from a shared array is a plain array of this process."""
    array = shared.zeros(3)
    other = loads(dumps(array + 1))
    array[:] = 5
    assert other.tolist() == [1, 1, 1]


def test_other_picklers_copy() -> None:
    """Outside procession the array is pickled as any array."""
    array = shared.zeros(3)
    copy = pickle.loads(pickle.dumps(array))
    array[:] = 5
    assert copy.tolist() == [0, 0, 0]


def test_object_arrays_are_refused() -> None:
    """Python objects live in one process."""
    with pytest.raises(TypeError, match=r"shared\.put"):
        shared.array(np.array([None, "text"]))


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_masked_arrays_are_refused() -> None:
    """The mask would be lost without a word."""
    with pytest.raises(TypeError, match=r"shared\.array\(a\.data\)"):
        shared.array(np.ma.masked_array([1, 2], [True, False]))


def test_too_large_is_an_error() -> None:
    """The kernel would end processes rather than say no."""
    with pytest.raises(MemoryError, match="asked for"):
        shared.zeros(10**14)


def _memory_of(array: Any) -> weakref.ref[mmap.mmap]:
    """What an array lies on, without keeping it."""
    while not isinstance(array, memoryview):
        array = array.base
    memory = array.obj
    assert isinstance(memory, mmap.mmap)
    assert memory in arrays._memories
    return weakref.ref(memory)


def test_memory_goes_with_the_last_array() -> None:
    """Nothing else keeps it: a view does, and then nothing."""
    view = shared.zeros(1000)[3:5]
    memory = _memory_of(view)
    gc.collect()
    assert memory() is not None
    del view
    gc.collect()
    assert memory() is None


def test_what_has_been_with_a_worker_goes_too() -> None:
    """An array that was sent, and came back, is not kept for its next use: it is the caller's."""
    array = shared.zeros(6)
    memory = _memory_of(array)
    (back,) = parallel(workers=1, inline=False, backend="process")(add).map([array])
    assert _memory_of(back)() is memory()
    assert memory() not in arrays._recent
    del array, back
    wait_until(lambda: gc.collect() >= 0 and memory() is None)


def test_a_killed_owner_leaves_nothing() -> None:
    """The memory has no name on Linux, and a swept folder elsewhere."""
    before = set(os.listdir("/dev/shm"))
    code = (
        "import os; from procession import shared; a = shared.zeros(10**6); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    wait_until(lambda: not [n for n in set(os.listdir("/dev/shm")) - before if "procession" in n])
