"""List: a list that several processes read and write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableSequence
from sys import maxsize
from typing import Any, ClassVar, Self, SupportsIndex, TypeVar, cast, overload

from procession.pickling.pickler import loads
from procession.shared.replica import Replica

_T = TypeVar("_T")


class List(Replica, MutableSequence[_T]):
    """A list in shared memory, without a manager process.

        found = shared.List[str]()
        found.append("one")

    Like ``multiprocessing.Manager().list()``: every method is one step for all processes; reading
    gives a copy of the item, so after ``l[0].append(x)`` assign it again (``l[0] = item``); and
    ``l[0] += 1`` is two steps, so hold a `Lock` for it. Loops show the state of one moment.

    Every process that uses it keeps a copy of the pickled items. A shared object, such as a Queue,
    can be taken out as long as a process lives that put it in or took it out.

    Args:
        items: What is in it at first.
    """

    def __init__(self, items: Iterable[_T] = ()) -> None:
        initial = [*items]
        self._create("list")
        if initial:
            self.extend(initial)

    @overload
    def __getitem__(self, index: SupportsIndex) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> list[_T]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        self._catch_up()
        if isinstance(index, slice):
            return [loads(blob) for blob in self._items[index]]
        return loads(self._items[index])

    @overload
    def __setitem__(self, index: SupportsIndex, value: _T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[_T]) -> None: ...
    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        blobs = [self._pickled(item) for item in (value if isinstance(index, slice) else (value,))]
        with self._mutex:
            self._refresh()
            self._replace(index, blobs)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        with self._mutex:
            self._refresh()
            self._replace(index, None)

    def __len__(self) -> int:
        self._catch_up()
        return len(self._items)

    def __iter__(self) -> Iterator[_T]:
        return iter(self.copy())

    def __reversed__(self) -> Iterator[_T]:
        return reversed(self.copy())

    def __contains__(self, value: object) -> bool:
        return value in self.copy()

    def append(self, value: _T) -> None:
        """Put an item at the end."""
        self.extend((value,))

    def extend(self, values: Iterable[_T]) -> None:
        """Put items at the end, as one step."""
        blobs = [self._pickled(value) for value in values]
        with self._mutex:
            self._refresh()
            end = len(self._items)
            self._change(end, end, blobs)

    def insert(self, index: SupportsIndex, value: _T) -> None:
        """Put an item before the one at `index`."""
        blob = self._pickled(value)
        with self._mutex:
            self._refresh()
            at, _, _ = slice(index, None).indices(len(self._items))
            self._change(at, at, [blob])

    def pop(self, index: SupportsIndex = -1) -> _T:
        """Take an item out and return it.

        Raises:
            IndexError: If there is none.
        """
        with self._mutex:
            self._refresh()
            try:
                blob = self._items[index]
            except IndexError:
                what = "pop index out of range" if self._items else "pop from empty list"
                raise IndexError(what) from None
            self._replace(index, None)
        return cast("_T", loads(blob))

    def remove(self, value: _T) -> None:
        """Take the first item out that equals `value`.

        Raises:
            ValueError: If there is none.
        """

        def without(items: list[_T], blobs: list[bytes]) -> list[bytes]:
            at = items.index(value)
            return blobs[:at] + blobs[at + 1 :]

        self._rearrange(without)

    def clear(self) -> None:
        """Take everything out."""
        del self[:]

    def reverse(self) -> None:
        """Turn the order round."""
        with self._mutex:
            self._refresh()
            self._change(0, len(self._items), self._items[::-1])

    def sort(self, *, key: Callable[[_T], Any] | None = None, reverse: bool = False) -> None:
        """Sort the items.

        Args:
            key: What of an item to compare; by default the item itself.
            reverse: Whether to begin with the greatest.
        """

        def in_order(items: list[Any], blobs: list[bytes]) -> list[bytes]:
            keys = items if key is None else [key(item) for item in items]
            order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
            return [blobs[at] for at in order]

        self._rearrange(in_order)

    def index(self, value: Any, start: SupportsIndex = 0, stop: SupportsIndex = maxsize) -> int:
        """Where the first item is that equals `value`.

        Raises:
            ValueError: If there is none.
        """
        return self.copy().index(value, start, stop)

    def count(self, value: Any) -> int:
        """How many items equal `value`."""
        return self.copy().count(value)

    def copy(self) -> list[_T]:
        """An ordinary list with what is in it now."""
        return self[:]

    def __add__(self, other: Iterable[_T]) -> list[_T]:
        return [*self, *other]

    def __radd__(self, other: Iterable[_T]) -> list[_T]:
        return [*other, *self]

    def __iadd__(self, other: Iterable[_T]) -> Self:
        self.extend(other)
        return self

    def __mul__(self, times: SupportsIndex) -> list[_T]:
        return self.copy() * times

    __rmul__ = __mul__

    def __imul__(self, times: SupportsIndex) -> Self:
        with self._mutex:
            self._refresh()
            self._change(0, len(self._items), self._items * times)
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, List | list):
            return self is other or self.copy() == [*other]
        return NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"List({self.copy()!r})"

    def _replace(self, index: SupportsIndex | slice, blobs: list[bytes] | None) -> None:
        """Put `blobs` in place of an item or a slice, or delete it, with the mutex held."""
        count = len(self._items)
        if not isinstance(index, slice):
            try:
                at = range(count)[index]
            except IndexError:
                raise IndexError("list assignment index out of range") from None
            self._change(at, at + 1, blobs or [])
            return
        start, stop, step = index.indices(count)
        if step == 1:
            self._change(start, max(start, stop), blobs or [])
            return
        new = self._items.copy()
        if blobs is None:
            del new[index]
        else:
            new[index] = blobs
        self._change(0, count, new)

    def _rearrange(self, rearranged: Callable[[list[_T], list[bytes]], list[bytes]]) -> None:
        """Replace everything by what a function of the user's items says.

        It is called without the mutex, and again if something has changed meanwhile.
        """
        while True:
            self._catch_up()
            version, blobs = self._seen, self._items.copy()
            new = rearranged([loads(blob) for blob in blobs], blobs)
            with self._mutex:
                self._refresh()
                if self._seen == version:
                    self._change(0, len(blobs), new)
                    return

    def _restart(self) -> None:
        self._items: list[bytes] = []

    def _apply(self, change: tuple[Any, ...]) -> None:
        start, stop, blobs = change
        self._items[start:stop] = blobs

    def _everything(self) -> tuple[Any, ...]:
        return 0, 0, self._items

    def _blobs(self) -> set[bytes]:
        return set(self._items)
