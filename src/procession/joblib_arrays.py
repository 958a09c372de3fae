"""Large arrays of a call of `joblib.Parallel`: each goes to the workers once, without a file."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from procession.errors import OptionError
from procession.pickling.dispatch_tables import wrap_reducer
from procession.shared import array as shared_array
from procession.shared.put_once import Snapshot


class CallArrays:
    """The large arrays of one call: each is copied once, when a batch first refers to it.

    A context manager around the pickling of a batch.

    Args:
        most: Bytes up to which an array goes with its batch; `None` for every array.
        mode: joblib's `mmap_mode`.
    """

    def __init__(self, most: int | None, mode: str | None) -> None:
        if mode not in ("r", "r+", "w+", "c", None):
            raise OptionError(
                f"mmap_mode={mode!r} is none of joblib's modes of arrays: write 'r', 'r+', 'w+', "
                "'c' or None."
            )
        self._most = None if mode is None else most
        self._mode = mode
        self._sent: dict[Any, Any] = {}

    def __enter__(self) -> None:
        if self._most is not None:
            _hook()
            _pickling.arrays = self

    def __exit__(self, *exc_info: object) -> None:
        _pickling.arrays = None

    def clear(self) -> None:
        """Forget them: what changes from now on is seen."""
        self._sent.clear()

    def reduce(self, array: Any, usual: Callable[[Any], Any]) -> Any:
        """What a worker rebuilds the array from."""
        if array.nbytes <= (self._most or 0) or array.dtype.hasobject:
            return usual(array)
        from procession.pickling.array_reducers import reduce_mapped  # loads numpy, which is there

        if reduce_mapped(array) is not None:
            return usual(array)  # it lies on a file, which workers map and write to
        root = array
        while isinstance(root.base, _hooked[0]):
            root = root.base
        at = array.__array_interface__
        key = (id(root), at["data"][0], array.shape, array.strides, repr(array.dtype))
        sent = self._sent.get(key)
        if sent is None:
            _pickling.arrays = None  # the copy itself is made as usual
            try:
                sent = self._sent[key] = self._copied(array)
            finally:
                _pickling.arrays = self
            # The copy lasts as long as the memory: a stream of arrays does not pile up.
            sent.append(weakref.ref(root, partial(_forget, self._sent, key)))
        return sent[0]

    def _copied(self, array: Any) -> list[Any]:
        if self._mode in ("r+", "w+"):
            return [(_mapped, (shared_array(array),))]
        opened = _private if self._mode == "c" else _read_only
        return [(opened, (Snapshot(array),))]


def _forget(sent: dict[Any, Any], key: Any, _: object) -> None:
    sent.pop(key, None)


class _Pickling(threading.local):
    """Whose batch this thread pickles."""

    arrays: CallArrays | None = None


_pickling = _Pickling()


def _wrapper(usual: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def reduce(array: Any) -> Any:
        arrays = _pickling.arrays
        return usual(array) if arrays is None else arrays.reduce(array, usual)

    return reduce


_hooked: list[type] = []


def _hook() -> None:
    """Have arrays pickled our way while a batch is: once numpy is loaded."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and not _hooked:
        _hooked.append(numpy.ndarray)
        wrap_reducer(numpy.ndarray, _wrapper)


def _read_only(array: Any) -> Any:
    view = _mapped(array)
    view.flags.writeable = False
    return view


def _mapped(array: Any) -> Any:
    """The array as a `numpy.memmap`, which is what joblib's own workers give a task."""
    return array.view(sys.modules["numpy"].memmap)


def _private(array: Any) -> Any:
    return _mapped(array.copy())
