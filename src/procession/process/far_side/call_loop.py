"""A single call in a worker: one message in, the function, one message out, and nothing more.

What does not change between two calls of a function was prepared with the first one
(`Runner.prepared`). What is odd (an error, a large result, something logged) goes home as the reply
of any other item does.
"""

from __future__ import annotations

from collections.abc import Callable

from procession.hints import Any
from procession.items import SHORT, STOP, Reply
from procession.pickling.objects import SCALARS
from procession.pickling.out_of_band import dumps_out_of_band
from procession.pickling.pickler import loads
from procession.process.io import messages
from procession.process.io.channel import frame, send_all
from procession.process.io.flight_recorder import BlackBox
from procession.system.pristine import perf_counter, socket
from procession.worker import current, failures
from procession.worker.runner import Prepared, Runner, flush_output

__all__ = ["CallLoop"]

_type: Callable[[object], type[Any]] = type  # for type checkers: of an object that may be anything


class CallLoop:
    """Runs single calls.

    Args:
        sock: The channel.
        box: Says which item runs.
        runner: Knows the jobs.
    """

    def __init__(self, sock: socket.socket, box: BlackBox, runner: Runner) -> None:
        self._sock = sock
        self._box = box
        self._words = box.words
        self._runner = runner

    def prepare(self, key: int) -> None:
        """Get ready for calls of a job."""
        self._runner.prepared(key, self._words)

    def run(self, key: int, index: int, given: Any) -> bool:
        """Run a call and answer. Not if its job asks for more than that, or it is not to be run.

        Args:
            key: The job.
            index: The call's number.
            given: As `contract.Chunk.given`.
        """
        prepared, box = self._runner.prepared(key, self._words), self._box
        if prepared is None or self._words[STOP] == box.chunk + 1:
            return False
        box.begin_chunk(index)
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
        kind = _type(result)
        short = kind in SCALARS or (kind is str and len(result) <= SHORT)
        if short and not prepared.noted:
            box.end()
            flush_output()
            self._sock.sendall(frame((messages.RESULT, result, box.chunk, seconds))[0])
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
        self._box.end()
        flush_output()
        self._sock.sendall(frame((messages.RESULT, payload, self._box.chunk, seconds))[0])

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
        send_all(self._sock, messages.pack_replies(messages.DONE, (reply,), self._box.chunk))
