"""A worker's black box: memory that both sides map, so that it survives any death.

It says which item runs and since when: one write of the worker before each item, no message. It
keeps the results of short calls until they are sent together. It holds the end of what the worker
wrote to `sys.stderr`, and takes faulthandler's stacks. The parent reads it at any time, also after
SIGKILL.
"""

from __future__ import annotations

import mmap
import os
import struct

from procession.items import BACK, DIVIDED, KEPT, RUNNING, STOP, UNTIL, UPTO
from procession.system import NamedTuple
from procession.system.descriptors import nameless
from procession.system.pristine import time

_WORD = struct.Struct("=qqq")
_CHUNK, _CHUNK_AT = struct.Struct("=q"), 8
_UP = struct.Struct("=q")
_UP_AT = 80
_TAIL_AT, _TAIL = 4096, 8192
_STACK_AT, _STACK = _TAIL_AT + _TAIL, 64 * 1024
_COUNT = struct.Struct("=q")
_COUNT_AT = 64
_DESERTED_AT = 72
_STOP_AT = 8 * STOP
_KEPT_AT, _ROOM = _STACK_AT + _STACK, 64 * 1024
_SIZE = _KEPT_AT + _ROOM


class Running(NamedTuple):
    """The item that a worker began last.

    Attributes:
        item: Its index.
        since: When it began, by the monotonic clock.
        over: Whether it has ended: its reply is on its way.
    """

    item: int
    since: float
    over: bool


class BlackBox:
    """One worker's recorder.

    Args:
        descriptor: The memory, as the parent made it. It can be closed as soon as it is mapped.

    Attributes:
        map: The mapped memory.
        words: Its first words; to write one takes a tenth of what `begin` takes.
        chunk: How many chunks were begun, on the worker's side.
    """

    def __init__(self, descriptor: int) -> None:
        self.map = mmap.mmap(descriptor, _SIZE)
        self.chunk = 0
        self.words = memoryview(self.map)[: 8 * (UNTIL + 1)].cast("q")

    @staticmethod
    def create() -> int:
        """Make the memory: without a name, so nothing can be left behind."""
        return nameless("procession-worker", _SIZE)

    def close(self) -> None:
        """Unmap the memory."""
        self.words.release()
        self.map.close()

    # -- the worker's side -----------------------------------------------------------------

    def next_chunk(self) -> int:
        """Count one more chunk: what the recorder says of earlier ones is of no interest now."""
        self.chunk += 1
        return self.chunk

    def begin(self, index: int) -> None:
        """Say that the item with this index runs from now on."""
        # The time goes first: a reader in between sees a fresh start, never a false timeout.
        _WORD.pack_into(self.map, 0, time.monotonic_ns(), self.chunk, index)

    def begin_chunk(self, index: int) -> None:
        """Both, for a single call."""
        self.chunk = chunk = self.chunk + 1
        _WORD.pack_into(self.map, 0, time.monotonic_ns(), chunk, index)

    def taken_back(self, chunk: int) -> bool:
        """Whether the parent has taken this call back."""
        words = self.words
        # The last first, as the parent writes that last: else both could be of different times.
        return chunk <= words[UPTO] and words[BACK] < chunk

    def pass_over(self, calls: int) -> None:
        """Count calls that are not run."""
        self.chunk += calls

    def keep(self, frame: bytes) -> bool:
        """Keep a result until it is sent, or else the parent finds it. Not if there is no room."""
        begin = self.words[KEPT]
        end = begin + len(frame)
        if end > _ROOM:
            return False
        self.map[_KEPT_AT + begin : _KEPT_AT + end] = frame
        self.words[KEPT] = end
        return True

    def kept(self) -> bytes:
        """The frames that are kept."""
        return self.map[_KEPT_AT : _KEPT_AT + self.words[KEPT]]

    def drop_kept(self) -> None:
        """They are sent."""
        self.words[KEPT] = 0

    def desert(self) -> None:
        """Say that the channel was closed, by code that ran in this worker."""
        self.map[_DESERTED_AT] = 1

    def end(self) -> None:
        """Say that this item has ended, before its reply is sent."""
        _CHUNK.pack_into(self.map, _CHUNK_AT, -self.chunk)

    def up(self) -> None:
        """Say that the process itself is up: what runs from now on is the user's."""
        _UP.pack_into(self.map, _UP_AT, time.monotonic_ns())

    def remember(self, text: str) -> None:
        """Keep the end of what was written to stderr."""
        data = text.encode("utf-8", "replace")[-_TAIL:]
        (count,) = _COUNT.unpack_from(self.map, _COUNT_AT)
        at = count % _TAIL
        first = data[: _TAIL - at]
        self.map[_TAIL_AT + at : _TAIL_AT + at + len(first)] = first
        rest = data[len(first) :]
        self.map[_TAIL_AT : _TAIL_AT + len(rest)] = rest
        _COUNT.pack_into(self.map, _COUNT_AT, count + len(data))

    @staticmethod
    def seek_stack(descriptor: int) -> None:
        """Point the descriptor at the place for stacks; faulthandler writes where it points."""
        os.lseek(descriptor, _STACK_AT, os.SEEK_SET)

    # -- the parent's side -----------------------------------------------------------------

    def stop(self, chunk: int, *, at_once: bool) -> None:
        """Have the worker run nothing more of this chunk after the item that runs.

        Else than `at_once`, it may still run what takes no longer than to give it back.
        """
        _CHUNK.pack_into(self.map, _STOP_AT, chunk if at_once else -chunk)

    def divide(self, chunk: int, index: int) -> None:
        """Have the worker end this chunk before the item with this index."""
        self.words[UNTIL] = index
        self.words[STOP] = chunk | DIVIDED

    def reached(self, column: range, chunk: int) -> int:
        """How many items of this chunk, which has these indexes, were begun, but for the last.

        Any thread may ask, also amid `close`, as the worker has died: that is not known then, so 0.
        """
        words = self.words
        try:
            index, present = words[RUNNING], words[_CHUNK_AT // 8]
        except ValueError:
            return 0
        if present == chunk:
            return max(0, min(index - column.start, len(column)))
        return 0 if abs(present) < chunk else len(column)

    def take_back(self, after: int, upto: int) -> int:
        """Have the worker run no call after this one, up to that one.

        Returns:
            After which one it runs none: an earlier one, if it may not have passed over those yet
            that were taken back before.
        """
        words = self.words
        if self.begun() <= words[UPTO]:
            after = min(after, words[BACK])
        words[BACK] = after  # first: else those before it were taken back for an instant
        words[UPTO] = upto
        return after

    def begun(self) -> int:
        """The chunk that was begun last."""
        return abs(self.words[_CHUNK_AT // 8])

    def kept_while_running(self) -> bytes:
        """What the worker keeps, if it runs something; else it is about to send it."""
        chunk = self.words[_CHUNK_AT // 8]
        kept = self.kept()
        return kept if 0 < chunk == self.words[_CHUNK_AT // 8] else b""

    def running(self, present: int) -> Running | None:
        """The item of the present chunk that was begun last, if any was.

        Args:
            present: How many chunks the worker was given.
        """
        since, chunk, index = _WORD.unpack_from(self.map, 0)
        if not chunk or abs(chunk) != present:
            return None
        return Running(index, since / 1e9, chunk < 0)

    def since_up(self) -> float | None:
        """When the process was up, by the monotonic clock; `None` if it is not."""
        (up,) = _UP.unpack_from(self.map, _UP_AT)
        return up / 1e9 if up else None

    def deserted(self) -> bool:
        """Whether the worker found its channel closed by its own code."""
        return self.map[_DESERTED_AT] != 0

    def stack(self) -> str:
        """What faulthandler wrote."""
        data = self.map[_STACK_AT : _STACK_AT + _STACK]
        return data.partition(b"\0")[0].decode("utf-8", "replace")

    def stack_size(self) -> int:
        """How many bytes faulthandler has written; it fills the place from its start."""
        end = self.map.find(b"\0", _STACK_AT)
        return (end if end >= 0 else len(self.map)) - _STACK_AT

    def tail(self) -> str:
        """The last of stderr."""
        (count,) = _COUNT.unpack_from(self.map, _COUNT_AT)
        ring = self.map[_TAIL_AT : _TAIL_AT + _TAIL]
        at = count % _TAIL
        data = ring[:count] if count <= _TAIL else ring[at:] + ring[:at]
        return data.decode("utf-8", "replace")

    def report(self) -> str:
        """Stack and end of stderr, as one text for people."""
        parts = [self.stack().strip()]
        tail = self.tail().strip()
        if tail:
            parts.append(f"The last it wrote to stderr:\n{tail}")
        return "\n".join(part for part in parts if part)
