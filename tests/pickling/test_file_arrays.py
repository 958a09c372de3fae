"""Arrays and tensors on files and in shared memory stay what they are: one memory for all."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procession import NotPicklable, ProcessionError, isolated, parallel
from procession.pickling.pickler import dumps, loads

np: Any = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux")


def mapped(path: Path, mode: str = "w+", **how: Any) -> Any:
    """A hundred numbers on a file."""
    if mode != "w+":
        np.arange(100.0).tofile(path)
    made = np.memmap(path, "f8", mode, shape=(100,), **how)
    if mode == "w+":
        made[:] = range(100)
    return made


def write(index: int, *arrays: Any) -> None:
    """Write where nobody else does."""
    for array in arrays:
        array[index] = -index


def change(array: Any) -> Any:
    """Change all of it, and send it back."""
    array[...] = 7
    return array


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_writes_arrive(backend: Any, tmp_path: Path) -> None:
    """As an argument for all, inside another, as the item, and in a process of its own."""
    whole = mapped(tmp_path / "data")
    work = parallel(workers=2, inline=False, backend=backend)
    work(write).map(range(1, 5), whole, np.asarray(whole)[50:])
    work(change).map([whole[10:12], {"deep": whole}["deep"][20:22]])
    isolated(write)(30, whole)
    assert whole[:5].tolist() == [0, -1, -2, -3, -4]
    assert whole[50:55].tolist() == [50, -1, -2, -3, -4]
    assert [*whole[10:12], *whole[20:22], whole[30]] == [7, 7, 7, 7, -30]


def make_result(path: str) -> Any:
    """A new file, filled in a worker."""
    made = np.memmap(path, "f8", "w+", shape=(50_000,))
    made[:] = 3
    return made


def test_a_result_on_a_file_stays_there(tmp_path: Path) -> None:
    """What a worker has written to a file comes home as an array on that file."""
    path = str(tmp_path / "result")
    here = parallel(workers=1, inline=False)(make_result).submit(path).result()
    assert (type(here), here.filename, here.mode) == (np.memmap, path, "r+")
    here[0] = 5
    assert np.fromfile(path)[:2].tolist() == [5, 3]


VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda a: a,
    "slice": lambda a: a[7:40],
    "strided": lambda a: a[3::7],
    "backwards": lambda a: a[::-3],
    "two-dimensional": lambda a: a.reshape(10, 10),
    "transposed": lambda a: a.reshape(10, 10).T[2:, ::-1],
    "plain": lambda a: np.asarray(a)[5:],
    "other type": lambda a: a.view("i4")[1:],
    "fields": lambda a: a.view([("x", "f8"), ("y", "i8")])["y"],
    "records": lambda a: a.view([("x", "f8"), ("y", "i8")]).view(np.recarray),
    "no dimensions": lambda a: a[5:6].reshape(()),
    "repeated": lambda a: np.broadcast_to(a[3:4], (4, 2)),
}


@pytest.mark.parametrize("pickling", ["strict", "by-value"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("offset", [0, 8, 5000])
def test_views_are_the_same_memory(view: Any, offset: int, pickling: Any, tmp_path: Path) -> None:
    """Type, shape, strides and place, wherever in the file the array begins."""
    whole = mapped(tmp_path / "data", offset=offset)
    given = view(whole)
    there = loads(dumps([given], pickling))[0]
    assert (type(there), there.dtype, there.shape) == (type(given), given.dtype, given.shape)
    assert (there.strides, there.flags.writeable) == (given.strides, given.flags.writeable)
    assert there.tobytes() == given.tobytes()
    if isinstance(there, np.memmap):
        assert (there.filename, there.offset) == (given.filename, given.offset)
        there.flush()
    whole.view("i8")[:] += 1
    assert there.tobytes() == given.tobytes()


def test_the_mode_decides(tmp_path: Path) -> None:
    """What is read only stays so; what is mapped privately is a copy of what is seen here."""
    read = loads(dumps(mapped(tmp_path / "read", "r")))
    assert (read.mode, read.flags.writeable, read[99]) == ("r", False, 99)
    private = mapped(tmp_path / "private", "c")
    private[0] = 5
    there = loads(dumps(private))
    private[1] = 6
    assert there[:3].tolist() == [5, 1, 2]


def test_files_that_moved_or_have_no_name(tmp_path: Path) -> None:
    """A renamed file is found, one without a name is opened through this process."""
    whole = mapped(tmp_path / "one")
    assert loads(dumps(whole))[5] == 5
    (tmp_path / "one").rename(tmp_path / "two")
    np.zeros(100).tofile(tmp_path / "one")  # another file has the name now
    with tempfile.TemporaryFile() as file:
        nameless = np.memmap(file, "f8", "w+", shape=(100,))
    (tmp_path / "three").touch()
    unlinked = mapped(tmp_path / "three")
    (tmp_path / "three").unlink()
    work = parallel(workers=1, inline=False)(write)
    work.map([1, 2], whole, nameless, unlinked)
    for array in (whole, nameless, unlinked):
        assert array[1:3].tolist() == [-1, -2]


def test_a_file_that_is_gone_when_it_arrives_is_told(tmp_path: Path) -> None:
    """One line says which file, and what to do."""
    sent = dumps(mapped(tmp_path / "data"))
    (tmp_path / "data").unlink()
    with pytest.raises(ProcessionError, match=r"data, which cannot be opened here.*array\.copy"):
        loads(sent)


OTHER = """
import multiprocessing
import time
from multiprocessing.shared_memory import SharedMemory
import numpy as np
from procession import parallel

def write(index, *arrays):
    for array in arrays:
        array[index] = -index

raw, memory = multiprocessing.RawArray("d", 100), SharedMemory(create=True, size=800)
guarded = multiprocessing.Array("d", 100)
arrays = [
    np.frombuffer(raw),
    np.ctypeslib.as_array(raw),
    np.frombuffer(guarded.get_obj()),
    np.ndarray(100, "f8", memory.buf),
    np.frombuffer(memory.buf),
]
parallel(workers=1, inline=False)(write).map([1, 2], *arrays)
print({tuple(array[1:3].tolist()) for array in arrays})
del arrays
memory.unlink()
deadline = time.monotonic() + 30
while memory._mmap is not None and time.monotonic() < deadline:
    try:
        memory.close()
    except BufferError:  # what was sent is freed by another thread
        time.sleep(0.01)
"""


def test_other_shared_memory() -> None:
    """Of multiprocessing: raw and guarded arrays, and blocks with a name."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "{(-1.0, -2.0)}\n"


def test_memory_that_nobody_else_can_open_is_refused() -> None:
    """An anonymous map is shared with forked children only."""
    array = np.frombuffer(mmap.mmap(-1, 800))
    with pytest.raises(NotPicklable, match=r"array on memory that is shared"):
        parallel(workers=1, inline=False)(change).submit(array).result()


def private_back(array: Any) -> Any:
    """A part of what came, through memory that is not a file of the user's."""
    return array[:20_000]


def test_memory_of_our_own_is_copied() -> None:
    """Large arguments arrive on memory that is used again: results on it are copies."""
    array = np.arange(100_000.0)
    work = parallel(workers=1, inline=False)(private_back)
    results = work.map([array, array + 1, array + 2])
    assert [result[5] for result in results] == [5, 6, 7]
    assert [
        one[5] for one in parallel(workers=1, inline=False, retries=1)(private_back).map([array])
    ] == [5]


def fill(tensor: Any) -> Any:
    """Change it in place, and send it back."""
    tensor[1:] = 4
    return tensor


def test_tensors_in_shared_memory() -> None:
    """By their storage, views and what numpy sees of them too; others are copied as ever."""
    torch: Any = pytest.importorskip("torch")
    tensor, other = torch.zeros(6, 4).share_memory_(), torch.zeros(6)
    work = parallel(workers=1, inline=False)(fill)
    back = work.submit(tensor[2:]).result()
    assert tensor[:, 0].tolist() == [0, 0, 0, 4, 4, 4]
    back[0] = 9
    assert tensor[2].tolist() == [9, 9, 9, 9]
    work.submit(tensor.T.numpy()).result()
    assert tensor[0].tolist() == [0, 4, 4, 4]
    work.submit(other).result()
    assert other.tolist() == [0, 0, 0, 0, 0, 0]
    layer = torch.nn.Linear(3, 3).share_memory()
    there = loads(dumps(layer))
    with torch.no_grad():
        layer.bias[:] = 2
    assert there.bias.tolist() == [2, 2, 2]


def test_a_tensor_leaves_the_pickle() -> None:
    """Its memory goes as an array's does; what it is besides comes along."""
    torch: Any = pytest.importorskip("torch")
    tensor = torch.arange(60_000, dtype=torch.float64).reshape(300, 200)
    buffers: list[Any] = []
    blob = dumps(tensor, "strict", buffers)
    assert len(blob) < 2000
    assert [len(buffer.raw()) for buffer in buffers] == [tensor.numel() * 8]
    there = loads(blob, [bytearray(buffer.raw()) for buffer in buffers])
    assert torch.equal(there, tensor)
    there += 1
    leaf = torch.zeros(3, requires_grad=True)
    assert loads(dumps(leaf)).requires_grad
    for odd in (tensor.T, tensor[1:], torch.zeros(3, dtype=torch.bfloat16), torch.nn.Linear(2, 2)):
        assert str(loads(dumps(odd))) == str(odd)


def shared_result() -> Any:
    """A tensor that only this worker has."""
    torch: Any = pytest.importorskip("torch")
    return torch.ones(3).share_memory_()


def test_what_only_a_worker_has_comes_home_as_a_copy() -> None:
    """Its shared memory without a name ends with it."""
    pytest.importorskip("torch")
    assert isolated(shared_result)().tolist() == [1, 1, 1]
