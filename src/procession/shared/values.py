"""Value and Array: ctypes objects in shared memory, with a lock."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast, overload

from procession.shared.locks import Lock, RLock
from procession.shared.memory.segment import Segment, Shared, attach
from procession.shared.raw import Description, ctype_of, describe, is_array, raw

_T = TypeVar("_T")
_S = TypeVar("_S")
_C = TypeVar("_C", bound="ctypes.Structure | ctypes.Union")
_AnyLock: TypeAlias = "Lock | Literal[True] | None"
_Ints = Literal["b", "B", "h", "H", "i", "I", "l", "L", "q", "Q"]
_Floats = Literal["f", "d"]


class _Synchronized(Shared):
    """A ctypes object and the lock that belongs to it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (type(self), self._segment, self._description, self._lock)

    def _open(self, segment: Segment, *arguments: Any) -> None:
        super()._open(segment)
        self._lock: Lock
        self._description: Description
        self._description, self._lock = arguments
        self._obj = raw(segment, self._description)
        self.acquire: Callable[..., bool] = self._lock.acquire
        self.release: Callable[[], None] = self._lock.release

    def get_lock(self) -> Lock:
        """The lock; hold it for what must happen as one, such as ``value += 1``."""
        return self._lock

    def get_obj(self) -> Any:
        """The ctypes object itself, without a lock."""
        return self._obj

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} wrapper for {self._obj!r}>"


class Synchronized(_Synchronized, Generic[_T]):
    """One number or character in shared memory; made by `Value`.

        with number.get_lock():
            number.value += 1    # two steps, as one

    To read or to write the value is one step; `get_lock` is for more.
    """

    @property
    def value(self) -> _T:
        """What it is now; read and written under the lock."""
        with self._lock:
            return cast("_T", self._obj.value)

    @value.setter
    def value(self, value: _T) -> None:
        with self._lock:
            self._obj.value = value


class _Sequence(_Synchronized, Generic[_T, _S]):
    """Many numbers, characters or structures."""

    def __len__(self) -> int:
        return len(self._obj)

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> _S: ...
    def __getitem__(self, index: int | slice) -> _T | _S:
        with self._lock:
            return cast("_T | _S", self._obj[index])

    @overload
    def __setitem__(self, index: int, value: _T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Sequence[_T] | _S) -> None: ...
    def __setitem__(self, index: int | slice, value: Any) -> None:
        with self._lock:
            self._obj[index] = value

    def __iter__(self) -> Iterator[_T]:
        for index in range(len(self)):
            yield self[index]


class SynchronizedArray(_Sequence[_T, list[_T]], Generic[_T]):
    """An array in shared memory; made by `Array`.

        squares[3] = 9
        squares[:]    # a list

    Items and slices are accessed under the lock.
    """


class SynchronizedString(_Sequence[bytes, bytes]):
    """An array of characters in shared memory; made by ``Array("c", ...)``.

        text.value    # the bytes up to the first zero
        text.raw      # all of them

    A slice is bytes. Each access is under the lock.
    """

    @property
    def value(self) -> bytes:
        """The bytes up to the first zero; read and written under the lock."""
        with self._lock:
            return cast("bytes", self._obj.value)

    @value.setter
    def value(self, value: bytes) -> None:
        with self._lock:
            self._obj.value = value

    @property
    def raw(self) -> bytes:
        """All bytes; read and written under the lock."""
        with self._lock:
            return cast("bytes", self._obj.raw)

    @raw.setter
    def raw(self, value: bytes) -> None:
        with self._lock:
            self._obj.raw = value


class SynchronizedStruct(_Synchronized, Generic[_C]):
    """A ctypes structure in shared memory; its fields are accessed under the lock."""

    def get_obj(self) -> _C:
        """The structure itself, without a lock."""
        return cast("_C", self._obj)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("acquire", "release"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with self._lock:
            return getattr(self._obj, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name in ("acquire", "release"):
            super().__setattr__(name, value)
            return
        if not hasattr(self._obj, name):
            raise AttributeError(f"{type(self._obj).__name__} has no field {name!r}")
        with self._lock:
            setattr(self._obj, name, value)


@overload
def Value(
    typecode_or_type: type[_C], *args: Any, lock: _AnyLock = True
) -> SynchronizedStruct[_C]: ...
@overload
def Value(
    typecode_or_type: type[ctypes._SimpleCData[_T]], *args: Any, lock: _AnyLock = True
) -> Synchronized[_T]: ...
@overload
def Value(typecode_or_type: _Ints, *args: Any, lock: _AnyLock = True) -> Synchronized[int]: ...
@overload
def Value(typecode_or_type: _Floats, *args: Any, lock: _AnyLock = True) -> Synchronized[float]: ...
@overload
def Value(typecode_or_type: str, *args: Any, lock: _AnyLock = True) -> Synchronized[Any]: ...
@overload
def Value(typecode_or_type: Any, *args: Any, lock: Literal[False]) -> Any: ...
def Value(typecode_or_type: Any, *args: Any, lock: Lock | bool | None = True) -> Any:
    """A ctypes object in shared memory, with a lock.

        hits = shared.Value("i", 0)
        with hits.get_lock():
            hits.value += 1

    Args:
        typecode_or_type: One of multiprocessing's typecodes, such as ``"i"`` or ``"d"``, or a
            ctypes type.
        *args: What the type's constructor takes; without, it is zero.
        lock: A `Lock` or `RLock` to use; by default an `RLock` of its own. ``False`` for none: then
            the ctypes object itself is returned.

    Returns:
        An object with ``.value``, ``.get_lock()`` and ``.get_obj()``; for a structure, with its
        fields.

    Raises:
        TypeError: `typecode_or_type` is neither a typecode nor a ctypes type.
        AttributeError: `lock` cannot be passed to workers, as another library's.
    """
    return _make(ctype_of(typecode_or_type), args, lock)


@overload
def Array(  # type: ignore[overload-overlap]
    typecode_or_type: Literal["c"] | type[ctypes.c_char],
    size_or_initializer: int | Sequence[Any],
    *,
    lock: _AnyLock = True,
) -> SynchronizedString: ...
@overload
def Array(
    typecode_or_type: type[ctypes._SimpleCData[_T]],
    size_or_initializer: int | Sequence[Any],
    *,
    lock: _AnyLock = True,
) -> SynchronizedArray[_T]: ...
@overload
def Array(
    typecode_or_type: _Ints, size_or_initializer: int | Sequence[Any], *, lock: _AnyLock = True
) -> SynchronizedArray[int]: ...
@overload
def Array(
    typecode_or_type: _Floats, size_or_initializer: int | Sequence[Any], *, lock: _AnyLock = True
) -> SynchronizedArray[float]: ...
@overload
def Array(
    typecode_or_type: Any, size_or_initializer: int | Sequence[Any], *, lock: _AnyLock = True
) -> SynchronizedArray[Any]: ...
@overload
def Array(
    typecode_or_type: Any, size_or_initializer: int | Sequence[Any], *, lock: Literal[False]
) -> Any: ...
def Array(
    typecode_or_type: Any,
    size_or_initializer: int | Sequence[Any],
    *,
    lock: Lock | bool | None = True,
) -> Any:
    """An array of ctypes objects in shared memory, with a lock.

        sums = shared.Array("d", 10)
        sums[3] = 0.5
        sums[:]    # a list

    Args:
        typecode_or_type: One of multiprocessing's typecodes, such as ``"i"`` or ``"d"``, or a
            ctypes type.
        size_or_initializer: How many (they are zero then), or what they are.
        lock: A `Lock` or `RLock` to use; by default an `RLock` of its own. ``False`` for none: then
            the ctypes array itself is returned.

    Returns:
        An object with a length, indices, slices, ``.get_lock()`` and ``.get_obj()``; of ``"c"``,
        also with ``.value`` and ``.raw``.

    Raises:
        TypeError: `typecode_or_type` is neither a typecode nor a ctypes type.
        AttributeError: `lock` cannot be passed to workers, as another library's.
    """
    ctype = ctype_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _make(ctype * size_or_initializer, (), lock)
    return _make(ctype * len(size_or_initializer), tuple(size_or_initializer), lock)


def _make(ctype: Any, args: tuple[Any, ...], lock: Lock | bool | None) -> Any:
    if not isinstance(lock, bool | Lock) and lock is not None:
        raise AttributeError(
            f"{lock!r} is no lock that can be passed to workers; use shared.Lock or shared.RLock"
        )
    segment = Segment.create("value", max(1, ctypes.sizeof(ctype)))
    RLock.prepare(segment)
    description = describe(ctype)
    obj = raw(segment, description)
    obj.__init__(*args)
    if lock is False:
        return obj
    if not isinstance(lock, Lock):
        lock = attach(RLock, segment)
    return attach(_wrapper(ctype), segment, description, lock)


def _wrapper(ctype: Any) -> type[_Synchronized]:
    if is_array(ctype):
        return SynchronizedString if ctype._type_ is ctypes.c_char else SynchronizedArray
    return Synchronized if issubclass(ctype, ctypes._SimpleCData) else SynchronizedStruct
