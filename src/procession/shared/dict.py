"""Dict and Namespace: keys, or attributes, that several processes read and write."""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from typing import Any, TypeVar, cast, overload

from procession.hints import NOT_GIVEN
from procession.pickling.notes import add_note
from procession.pickling.objects import ATOMS
from procession.pickling.pickler import dumps, loads
from procession.shared.memory.handles import dumps_into
from procession.shared.replica import Replica
from procession.system.interrupts import tried

_K = TypeVar("_K")
_V = TypeVar("_V")
_T = TypeVar("_T")
_W = TypeVar("_W")


class _Foreign:
    """A key that cannot be rebuilt in this process."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob

    def __hash__(self) -> int:
        return hash(self.blob)

    def __eq__(self, other: object) -> bool:
        return type(other) is _Foreign and self.blob == other.blob


def _key_of(blob: bytes) -> Any:
    """A key, or what stands for it here."""
    return tried(_Foreign(blob), loads, blob)


def _given(key: Any) -> Any:
    """A key, as it is given to the user.

    Raises:
        BaseException: What rebuilding it raises here.
    """
    if type(key) is not _Foreign:
        return key
    try:
        return loads(key.blob)
    except BaseException as error:
        add_note(error, "This key of a shared.Dict was put in by a process that can rebuild it.")
        raise


class Dict(Replica, MutableMapping[_K, _V]):
    """A dictionary in shared memory, without a manager process.

        words = shared.Dict[str, int]()
        words["one"] = 1

    Like ``multiprocessing.Manager().dict()``: every method is one step for all processes; reading
    gives a copy of the value, so after ``d[key].append(x)`` assign it again (``d[key] = value``);
    and ``d[key] += 1`` is two steps, so hold a `Lock` for it. ``keys()``, ``values()``, ``items()``
    and loops show the state of one moment.

    Every process that uses it keeps a copy of all keys and of the pickled values. A shared object,
    such as a Queue, can be taken out as long as a process lives that put it in or took it out.
    Where a key cannot be rebuilt, only what gives keys raises what that raises.

    Args:
        *args: As for ``dict``.
        **kwargs: As for ``dict``.
    """

    @overload
    def __init__(self, /) -> None: ...
    @overload
    def __init__(self: Dict[str, _W], /, **kwargs: _W) -> None: ...
    @overload
    def __init__(self, items: Mapping[_K, _V] | Iterable[tuple[_K, _V]], /) -> None: ...
    @overload
    def __init__(
        self: Dict[str, _W],
        items: Mapping[str, _W] | Iterable[tuple[str, _W]],
        /,
        **kwargs: _W,
    ) -> None: ...
    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        initial: dict[Any, Any] = dict(*args, **kwargs)
        self._create("dict")
        if initial:
            self.update(initial)

    def __getitem__(self, key: _K) -> _V:
        self._catch_up()
        return cast("_V", loads(self._items[key]))

    def __setitem__(self, key: _K, value: _V) -> None:
        pair = (self._pickled_key(key), self._pickled(value))
        with self._mutex:
            self._refresh()
            self._put((key, *pair))

    def __delitem__(self, key: _K) -> None:
        with self._mutex:
            self._refresh()
            if key not in self._items:
                raise KeyError(key)
            self._change("del", self._blob_of(key))

    def __contains__(self, key: object) -> bool:
        self._catch_up()
        return key in self._items

    def __len__(self) -> int:
        self._catch_up()
        return len(self._items)

    def __iter__(self) -> Iterator[_K]:
        self._catch_up()
        return map(_given, list(self._items))

    def __reversed__(self) -> Iterator[_K]:
        self._catch_up()
        return map(_given, reversed(list(self._items)))

    @overload
    def get(self, key: _K, /) -> _V | None: ...
    @overload
    def get(self, key: _K, default: _V | _T, /) -> _V | _T: ...
    def get(self, key: _K, default: Any = None, /) -> Any:
        """The value of `key`, or `default`."""
        self._catch_up()
        blob = self._items.get(key)
        return default if blob is None else loads(blob)

    @overload
    def pop(self, key: _K, /) -> _V: ...
    @overload
    def pop(self, key: _K, default: _V | _T, /) -> _V | _T: ...
    def pop(self, key: _K, default: Any = NOT_GIVEN, /) -> Any:
        """Take `key` out and return its value, or `default`.

        Raises:
            KeyError: If it is not there and there is no default.
        """
        with self._mutex:
            self._refresh()
            blob = self._items.get(key)
            if blob is not None:
                self._change("del", self._blob_of(key))
        if blob is not None:
            return loads(blob)
        if default is NOT_GIVEN:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[_K, _V]:
        """Take the newest item out and return it.

        Raises:
            KeyError: If there is none.
        """
        with self._mutex:
            self._refresh()
            if not self._items:
                raise KeyError("popitem(): dictionary is empty")
            key = next(reversed(self._items))
            found, blob = _given(key), self._items[key]
            self._change("del", self._blob_of(key))
        return found, loads(blob)

    def setdefault(self, key: _K, default: Any = None, /) -> _V:
        """The value of `key`, which is made `default` if it is not there."""
        pair = (self._pickled_key(key), self._pickled(default))
        with self._mutex:
            self._refresh()
            blob = self._items.get(key)
            if blob is None:
                blob = pair[1]
                self._put((key, *pair))
        return cast("_V", loads(blob))

    def clear(self) -> None:
        """Take everything out."""
        with self._mutex:
            self._refresh()
            self._change("clear")

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Put many items in, as one step."""
        new: dict[Any, Any] = dict(other, **more)
        items = [(key, self._pickled_key(key), self._pickled(new[key])) for key in new]
        with self._mutex:
            self._refresh()
            self._put(*items)

    def copy(self) -> dict[_K, _V]:
        """An ordinary dictionary with what is in it now."""
        self._catch_up()
        return {_given(key): loads(blob) for key, blob in list(self._items.items())}

    def keys(self) -> KeysView[_K]:
        """The keys there are now."""
        return dict.fromkeys(self).keys()

    def values(self) -> ValuesView[_V]:
        """The values there are now."""
        self._catch_up()
        return dict(enumerate(map(loads, list(self._items.values())))).values()

    def items(self) -> ItemsView[_K, _V]:
        """The items there are now."""
        return self.copy().items()

    def __or__(self, other: Mapping[_K, _V]) -> dict[_K, _V]:
        return self.copy() | dict(other)

    def __ror__(self, other: Mapping[_K, _V]) -> dict[_K, _V]:
        return dict(other) | self.copy()

    def __ior__(self, other: Mapping[_K, _V] | Iterable[tuple[_K, _V]]) -> Dict[_K, _V]:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return f"Dict({self.copy()!r})"

    def _restart(self) -> None:
        self._items: dict[_K, bytes] = {}
        self._odd: dict[Any, bytes] = {}  # keys of which two pickles may differ, and the first one

    def _apply(self, change: tuple[Any, ...]) -> None:
        match change:
            case ("set", pairs):
                for blob, value in pairs:
                    key = _key_of(blob)
                    if type(key) not in ATOMS:
                        self._odd.setdefault(key, blob)
                    self._items[key] = value
            case ("del", blob):
                key = _key_of(blob)
                del self._items[key]
                self._odd.pop(key, None)
            case _:
                self._restart()

    def _put(self, *items: tuple[_K, bytes, bytes]) -> None:
        """Keys, their pickles, and those of their values; with the mutex held."""
        self._change("set", [(self._odd.get(key, blob), value) for key, blob, value in items])

    def _blob_of(self, key: Any) -> bytes:
        """The pickle by which a key that is there is known to all processes."""
        return self._odd.get(key) or dumps(key)

    def _pickled_key(self, key: object) -> bytes:
        blob = dumps_into(key, f"shared.{type(self).__name__}", "key")
        if type(key) not in ATOMS:
            loads(blob)  # which raises here what it raises
        return blob

    def _everything(self) -> tuple[Any, ...]:
        return "set", [(self._blob_of(key), value) for key, value in self._items.items()]

    def _blobs(self) -> set[bytes]:
        return set(self._items.values())


class Namespace:
    """An object whose attributes are shared, without a manager process.

        state = shared.Namespace(steps=0)
        state.steps = 1

    Like ``multiprocessing.Manager().Namespace()``: reading gives a copy of the value, so after
    ``ns.x.append(y)`` assign it again. Names that begin with an underscore are not shared.

    Args:
        **attributes: What it has at first.
    """

    _values: Dict[str, Any]

    def __init__(self, /, **attributes: Any) -> None:
        self._values = Dict(attributes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise self._has_no(name)
        try:
            return self._values[name]
        except KeyError:
            raise self._has_no(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self._values[name] = value

    def __delattr__(self, name: str) -> None:
        if name.startswith("_"):
            super().__delattr__(name)
            return
        try:
            del self._values[name]
        except KeyError:
            raise self._has_no(name) from None

    def _has_no(self, name: str) -> AttributeError:
        text = f"'Namespace' object has no attribute {name!r}"
        return AttributeError(text, name=name, obj=self)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        return f"Namespace({', '.join(f'{k}={v!r}' for k, v in self._values.items())})"
