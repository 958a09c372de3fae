"""A single call in a worker: one message in, the function, one message out, and nothing more.

What does not change between two calls of a function was prepared with the first one
(`Runner.prepared`). What is odd (an error, a large result, something logged) goes home as the reply
of any other item does.

Of several calls that come together, the results are kept in shared memory, and sent together. There
the pool finds them if the next call kills the worker, or takes long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from procession.hints import Any
from procession.items import KEPT, SHORT, STOP, Reply
from procession.pickling.objects import SCALARS, class_of, is_one_of
from procession.pickling.out_of_band import dumps_out_of_band
from procession.pickling.pickler import loads
from procession.process.io import messages
from procession.process.io.black_box import BlackBox
from procession.process.io.channel import frame, send_all, send_short
from procession.system.pristine import perf_counter, socket
from procession.worker import current, failures
from procession.worker.runner import Prepared, Runner, flush_output

_DELAY = 0.002
"""Seconds for which results of short calls wait for company. A guess: a message costs both sides
some 50 µs."""


class CallLoop:
    """Runs single calls.

    Args:
        sock: The channel.
        box: Says which item runs.
        runner: Knows the jobs.
    """

    def __init__(self, sock: socket.socket, box: BlackBox, runner: Runner) -> None:
        self._sock = sock
        self._descriptor = sock.fileno()
        self._box = box
        self._words = box.words
        self._runner = runner
        self._more = False  # whether another call follows at once
        self._due = 0.0

    def prepare(self, key: int) -> None:
        """Get ready for calls of a job."""
        self._runner.prepared(key, self._words)

    def run_all(
        self, key: int, calls: Sequence[tuple[int, Any]], instead: Callable[[int, int, Any], None]
    ) -> None:
        """Run calls and answer, but for those that were taken back.

        Args:
            key: The job.
            calls: The index and what is given for each, as for `run`.
            instead: Runs one that `run` does not, once it was begun.
        """
        box, left = self._box, len(calls)
        self._due = perf_counter() + _DELAY
        for index, given in calls:
            left -= 1
            self._more = left > 0
            if box.taken_back(box.chunk + 1):
                box.pass_over(left + 1)  # and all after it
                break
            box.begin_chunk(index)
            # Once more: the pool knows from here on that it was begun.
            if box.taken_back(box.chunk):
                self._send_kept()
                send_all(self._sock, frame((messages.UNRUN, None, box.chunk)))
                box.pass_over(left)
                break
            if not self._run(key, index, given):
                self._send_kept()
                instead(key, index, given)
        self._more = False
        self._send_kept()

    def run(self, key: int, index: int, given: Any) -> bool:
        """Run a call and answer. Not if its job asks for more than that, or it is not to be run.

        In any case it has begun then.

        Args:
            key: The job.
            index: The call's number.
            given: As `contract.Chunk.given`.
        """
        self._box.begin_chunk(index)
        return self._run(key, index, given)

    def _run(self, key: int, index: int, given: Any) -> bool:
        prepared, box = self._runner.prepared(key, self._words), self._box
        if prepared is None or abs(self._words[STOP]) == box.chunk:
            return False
        value: Any = given, {}
        if type(given) is bytes:
            try:
                value = loads(given)
            except BaseException as error:
                self._fail(index, failures.argument_error(error, prepared.header, given), prepared)
                return True
            if prepared.copied:
                current.end_copy(f"an argument of {prepared.name}(), item {index},")
        current.begin_call(prepared.task)
        began = perf_counter()
        try:
            result = prepared.base.copy().run(prepared.call, value)
        except BaseException as error:
            self._raise(index, error, perf_counter() - began, prepared)
            return True
        seconds = perf_counter() - began
        if prepared.copied:
            current.end_copy(f"{prepared.name}(), item {index},")
        del value, given
        current.end()
        kind = class_of(result)
        short = is_one_of(kind, SCALARS) or (kind is str and len(result) <= SHORT)
        if short and not prepared.noted:
            self._give(result, seconds)
        else:
            self._send(index, result, seconds, prepared)
        return True

    def _send(self, index: int, result: Any, seconds: float, prepared: Prepared) -> None:
        """Answer with what is not itself, or comes with something else."""
        extras = prepared.take()
        try:
            payload, found = dumps_out_of_band(result, prepared.pickling, transit=True)
        except BaseException as error:
            refusal = failures.result_error(error, result, prepared.header.settings)
            self._fail(index, refusal, prepared, seconds, extras)
            return
        if prepared.copied:  # by what pickles its result
            current.end_copy(f"{prepared.name}(), item {index},")
        if found or extras is not None or len(payload) > SHORT:
            self._answer(Reply(index, True, payload, found, seconds, False, extras))
            return
        self._give(payload, seconds)

    def _give(self, result: Any, seconds: float) -> None:
        """Send a result, or keep it until others go with it."""
        box = self._box
        box.end()
        flush_output()
        data = frame((messages.RESULT, result, box.chunk, seconds))[0]
        if not (self._more or self._words[KEPT]):
            send_short(self._descriptor, data)
        elif not box.keep(data):
            self._send_kept()
            send_short(self._descriptor, data)
        elif perf_counter() >= self._due:
            self._send_kept()

    def _send_kept(self) -> None:
        if self._words[KEPT]:
            send_short(self._descriptor, self._box.kept())
            self._box.drop_kept()
            self._due = perf_counter() + _DELAY

    def _raise(self, index: int, error: BaseException, seconds: float, prepared: Prepared) -> None:
        """Answer for a function that has raised."""
        if prepared.copied:
            current.end_copy(f"{prepared.name}(), item {index},", error)
        told = failures.item_error(error, prepared.header.settings)
        current.end()
        self._answer(failures.raised(index, told, prepared.header, seconds, prepared.take()))

    def _fail(
        self,
        index: int,
        error: BaseException,
        prepared: Prepared,
        seconds: float = 0.0,
        extras: bytes | None = None,
    ) -> None:
        self._answer(failures.failed(index, error, prepared.header.settings, seconds, extras))

    def _answer(self, reply: Reply) -> None:
        self._box.end()
        flush_output()
        self._send_kept()
        send_all(self._sock, messages.pack_replies(messages.DONE, (reply,), self._box.chunk))
