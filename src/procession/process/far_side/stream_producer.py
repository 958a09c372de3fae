"""The worker's side of a stream: runs a generator and sends its values as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from typing import Any, Protocol

from procession.items import Reply
from procession.process.io import messages
from procession.process.io.channel import send_all
from procession.system.pristine import perf_counter
from procession.worker import current
from procession.worker.runner import flush_output


class _Home(Protocol):
    _sock: Any
    _box: Any
    _runner: Any

    def next_message(self) -> tuple[tuple[Any, ...], Any]: ...


class Producer:
    """Runs the one item of a task, which is a call of a generator function.

    Each value is a reply of its own, numbered from 0 by its index. It runs at most ``task.ahead``
    values ahead of the consumer; then it waits for credit. An exception that the generator raises
    is the last reply, with ``ok`` false.
    """

    def __init__(self, home: _Home, task: messages.Task) -> None:
        self._home = home
        self._task = task
        self._credit = task.ahead
        self._sent = 0
        self._name = "the function"
        self._timed = False
        self._since = 0.0
        self._pid = os.getpid()

    def run(self) -> None:
        """Produce until the generator ends."""
        copy_context().run(self._run)
        self._home._box.end()
        self._post(messages.DONE, ())

    def _run(self) -> None:
        from procession.worker.failures import exited
        from procession.worker.job_header import call_with, open_header

        index, attempt, blob, buffers = self._task.items[0]
        self._home._box.begin(index)
        pickling = "by-value"
        try:
            from procession.pickling.pickler import loads

            assert self._task.header is not None
            with current.while_loading():
                header = open_header(*self._task.header)
            self._name, pickling = header.settings.name, header.settings.pickling
            value = loads(blob, buffers)
            worker, rule = str(os.getpid()), header.settings.nested
            current.begin(current.CurrentTask(index, attempt, worker, self._name, rule))
            self._home._runner.adopt(header.settings)
            self._recorder = _recorder(header.settings.out)
            self._timed = header.settings.timed
            self._since = perf_counter() if self._timed else 0.0
            with _seeded(header.settings.seed, index):
                values: Iterator[Any] = iter(call_with(header, value))
                for each in values:
                    self._send(each, pickling)
        except (SystemExit, KeyboardInterrupt) as error:
            self._fail(exited(error, self._name), pickling)
        except BaseException as error:
            self._fail(error, pickling)
        finally:
            current.end()

    def _send(self, value: Any, pickling: Any) -> None:
        from procession.pickling.out_of_band import dumps_out_of_band

        came = perf_counter() if self._timed else 0.0
        try:
            payload, found = dumps_out_of_band(value, pickling, transit=True)
        except BaseException as error:
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise
            from procession.worker.failures import refused_result

            raise refused_result(error, value, self._name, pickling) from None
        self._ship(
            Reply(self._sent, True, payload, found, came - self._since, False, self._extras())
        )
        self._sent += 1
        self._credit -= 1
        while self._credit <= 0:
            message, _ = self._home.next_message()
            if message[0] == messages.STOP:
                os._exit(0)  # no one reads on
            if message[0] == messages.CREDIT:
                self._credit += message[1]
        self._since = perf_counter() if self._timed else 0.0

    def _fail(self, error: BaseException, pickling: Any) -> None:
        if os.getpid() != self._pid:
            current.end_copy(f"{self._name}()", error)
        from procession.pickling.exceptions import dump_exception

        payload = dump_exception(error, pickling)
        seconds = perf_counter() - self._since if self._timed else 0.0
        self._ship(Reply(self._sent, False, payload, (), seconds, False, self._extras()))

    def _ship(self, reply: Reply) -> None:
        if self._timed:
            timing = (self._since, perf_counter() - self._since, os.getpid(), "")
            reply = reply._replace(timing=timing)
        self._post(messages.REPLIES, [reply])

    def _post(self, kind: int, replies: Sequence[Reply]) -> None:
        if os.getpid() != self._pid:  # the generator has forked it
            current.end_copy(f"{self._name}()")
        flush_output()
        home = self._home
        send_all(home._sock, messages.pack_replies(kind, replies, home._box.chunk))

    _recorder: Any = None

    def _extras(self) -> bytes | None:
        return None if self._recorder is None else self._recorder.take()


def _seeded(seed: int | None, index: int) -> AbstractContextManager[None]:
    if seed is None:
        return nullcontext()
    from procession.worker.seeding import seeded

    return seeded(seed, index)


def _recorder(out: Any) -> Any:
    if out is None:
        return None
    from procession.forwarding.records import Recorder

    recorder = Recorder()
    recorder.adopt(out)
    return recorder
