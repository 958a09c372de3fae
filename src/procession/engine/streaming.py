"""The values of a generator function that runs in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from procession.backends.shutdown import check_open
from procession.contract import End
from procession.engine.call import Call
from procession.engine.decoding import value_of
from procession.engine.job import make_job
from procession.engine.local.stepwise import values_here
from procession.engine.local.where import Where
from procession.engine.overload import OpenStream, admit, leave
from procession.engine.packing import packer
from procession.engine.policy.blame import Rules, judge
from procession.errors import OptionError
from procession.items import Item, Reply, Settled, size_back
from procession.observer import UNOBSERVED, CallObserver, call_began
from procession.pickling.exceptions import raisable

if TYPE_CHECKING:
    from procession.backends.process import IsolatedStream


def stream(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
    """The values of a generator function, which runs in a process of its own."""
    if call.options.retries:
        raise OptionError(
            f"{call.name}() is a generator function and was decorated with "
            f"retries={call.options.retries}: values that were given cannot be taken back. Leave "
            "retries out, or retry around the whole loop."
        )
    if call.options.deadline is not None:
        raise OptionError(
            f"{call.name}() is a generator function and was decorated with "
            f"deadline={call.options.deadline:g}: a stream has no one result to wait for. Leave "
            "deadline out, or write timeout= for what the generator may take."
        )
    check_open(call.name)
    where = Where(call, blocking=False)
    value = ((*call.prefix, *args), kwargs)
    if where.here:
        observer = call_began(call.name, single=True)
        return StreamHere(observer.yielding(value, values_here(call, value)))
    plain = call._replace(prefix=())
    backend: Any = where.backend()
    counted = None
    if call.options.max_pending is not None:
        counted = OpenStream()
        admit(counted, backend, call.name, call.options.max_pending)
    observer = call_began(call.name, single=True)
    job = make_job(plain, out_of_band=where.out_of_band)
    pack = packer(plain, out_of_band=where.out_of_band)
    item = pack(call.number(), value)
    from procession.backends.process import IsolatedStream

    return Stream(IsolatedStream(backend, job, item), call.rules(single=True), observer, counted)


class _Closing(Iterator[Any]):
    """An iterator that a ``with`` block closes."""

    def close(self) -> None:
        """End the generator; values that were not read are lost."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StreamHere(_Closing):
    """The same of a generator that runs in this process.

    Args:
        values: A generator that gives them.
    """

    def __init__(self, values: Any) -> None:
        self._values = values

    def __next__(self) -> Any:
        return next(self._values)

    def close(self) -> None:
        """End the generator."""
        self._values.close()


class Stream(_Closing):
    """Yields what the generator yields, while it runs on ahead by a bounded number of values.

    The process ends with the generator. It also ends when the iterator is closed or forgotten, or
    its consumer raises out of a ``with`` block.
    """

    def __init__(
        self,
        source: IsolatedStream,
        rules: Rules,
        observer: CallObserver = UNOBSERVED,
        counted: OpenStream | None = None,
    ) -> None:
        self._observer = observer
        observer.ends_with(self)  # if it is forgotten half read
        self._source: IsolatedStream | None = source
        self._chunk = source.chunk
        self._item: Item = source.chunk.items[0]
        self._rules = rules
        self._counted = counted

    def __next__(self) -> Any:
        source = self._source
        if source is None:
            raise StopIteration
        try:
            came = source.take()
            if self._source is None:  # another thread has closed it meanwhile
                raise StopIteration
            if isinstance(came, Reply):
                return self._value(came)
            self._check(came)
        except BaseException:
            self.close()
            raise
        self.close()
        raise StopIteration

    def _value(self, reply: Reply) -> Any:
        if reply.extras is not None:
            from procession.forwarding.records import Replay

            Replay(reply.extras)()
        settled = Settled(self._item, reply)
        self._observer.replied(self._chunk, (settled,))
        self._chunk.home.tally.moved(0, size_back(self._item, reply))
        return self._observer.decoding(value_of)(settled, self._rules)

    def _check(self, end: End) -> None:
        """Raise what ended the process, unless the generator has ended by itself."""
        tally = self._chunk.home.tally
        if end.kind == "done":
            tally.answered(1, 0)
            return
        self._observer.settled(1, 0, end)
        tally.ended(end, 1, 0)
        # It runs once: also a machine that is lost before it began is the end of it.
        end = end._replace(index=self._item.index)
        for verdict in judge(self._chunk, [self._item], end, self._rules):
            if verdict.error is not None:
                raise raisable(verdict.error, f"{self._rules.name}()")

    def close(self) -> None:
        """End the process if it still runs; values that were not read are lost."""
        if self._counted is not None:
            leave(self._counted, self._chunk.home)
        source, self._source = self._source, None
        self._observer.finished()
        if source is not None:
            source.close()
