"""State that every process keeps a copy of, brought up to date by a common log of changes.

The log lies in a file in memory; a word of the segment says how much of it is valid. A change is
appended to it under the mutex; then that word changes, with a few others, as one (see
`procession.shared.memory.layout.State`). A process that is killed has made a change, or it has not.
To read is to compare one word, and only if something changed to read the rest of the log. When the
log has become much longer than what it says, it is written anew, and all begin again from there.
"""

from __future__ import annotations

import marshal
from abc import abstractmethod
from typing import Any

from procession.shared.memory.handles import dumps_and_sent
from procession.shared.memory.layout import State
from procession.shared.memory.memory_file import SMALLEST, Store
from procession.shared.memory.monitor import Monitor
from procession.shared.memory.segment import Segment, attach

_LENGTH = 8
"""Bytes before each change."""


class Replica(Monitor):
    """A copy of shared state. A change is a tuple of bytes, numbers, strings, lists and tuples."""

    def _create(self, label: str, body: int = 0) -> None:
        self._store = Store.create(label)
        super()._create(label, body)
        self._state.write(0, 0, SMALLEST, 0, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (type(self), self._segment, self._store)

    def _open(self, segment: Segment, *arguments: Any) -> None:
        super()._open(segment)
        # Where the log begins and ends, the store's size, how long the log was when it was last
        # written anew, and how often it was.
        self._state = State(segment.map, segment.words, 5)
        if arguments:
            (self._store,) = arguments
        self._epoch = self._seen = self._position = 0
        self._kept: dict[bytes, list[object]] = {}
        self._keep_up_to = 64
        self._restart()

    @abstractmethod
    def _restart(self) -> None:
        """Forget everything: all of it follows as changes."""

    @abstractmethod
    def _apply(self, change: tuple[Any, ...]) -> None:
        """Make a change in this process's copy."""

    @abstractmethod
    def _everything(self) -> tuple[Any, ...]:
        """One change that makes all of the state out of nothing."""

    @abstractmethod
    def _blobs(self) -> set[bytes]:
        """All pickled values in the state."""

    def _catch_up(self) -> None:
        """Bring this process's copy up to date."""
        if self._state.version != self._seen:
            with self._mutex:
                self._refresh()

    def _refresh(self) -> None:
        """The same, with the mutex held."""
        version = self._state.version
        if version == self._seen:
            return
        begin, end, size, _, epoch = self._state.read()
        if epoch != self._epoch:
            self._restart()
            self._epoch, self._position = epoch, begin
        log = self._store.read(self._position, end, size)
        try:
            at = 0
            while at < len(log):
                start = at + _LENGTH
                at = start + int.from_bytes(log[start - _LENGTH : start], "little")
                self._apply(marshal.loads(log[start:at]))
        except BaseException:
            self._begin_again()
            raise
        self._position = end
        self._seen = version

    def _change(self, *change: Any) -> None:
        """Make a change, with the mutex held and the copy up to date."""
        begin, end, size, whole, epoch = self._state.read()
        if end - begin > max(SMALLEST // 2, 4 * whole):
            begin, end, size, whole, epoch = self._shorten()
        record = _record(change)
        size = self._store.grown(size, end + len(record))
        self._store.write(end, record, size)
        try:
            self._apply(change)
            self._state.write(begin, end + len(record), size, whole, epoch)
        except BaseException:
            self._begin_again()
            raise
        self._position = end + len(record)
        self._seen = self._state.version

    def _begin_again(self) -> None:
        """This process's copy may be half changed: make it anew when it is needed."""
        self._epoch = self._seen = -1

    def _shorten(self) -> tuple[int, ...]:
        """Write the log anew, if it is much longer than what it says."""
        begin, end, size, _, epoch = self._state.read()
        record = _record(self._everything())
        whole = len(record)
        if 2 * whole > end - begin:
            return begin, end, size, whole, epoch
        start = 0 if whole <= begin else end
        size = self._store.grown(size, start + whole)
        self._store.write(start, record, size)
        enough = max(SMALLEST, 1 << (8 * whole).bit_length())
        if start == 0 and 2 * enough <= size:
            size = enough
        self._state.write(start, start + whole, size, whole, epoch + 1)
        self._store.resize(size)
        self._epoch, self._position = epoch + 1, start + whole
        self._seen = self._state.version
        return self._state.read()

    def _pickled(self, value: object) -> bytes:
        """Pickle a value that is put in. Shared objects in it are kept open as long as it is."""
        blob, sent = dumps_and_sent(value, f"shared.{type(self).__name__}")
        if sent:
            self._kept[blob] = sent
            if len(self._kept) > self._keep_up_to:
                present = self._blobs() | {blob}
                self._kept = {b: s for b, s in self._kept.items() if b in present}
                self._keep_up_to = 2 * len(self._kept) + 64
        return blob


def _record(change: tuple[Any, ...]) -> bytes:
    body = marshal.dumps(change)
    return len(body).to_bytes(_LENGTH, "little") + body
