"""The worker's side: what a worker process runs from its start to its end."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from procession.buffers.housekeeping import housekeeper
from procession.hints import Any, NoReturn
from procession.items import Item, Job, Reply
from procession.pickling.objects import class_of
from procession.process.far_side import worker_setup
from procession.process.far_side.call_loop import CallLoop
from procession.process.far_side.outbox import Outbox
from procession.process.far_side.worker_setup import Plan
from procession.process.io import messages
from procession.process.io.black_box import BlackBox
from procession.process.io.channel import Receiver, frame, parse, send_all
from procession.process.start import start_methods
from procession.process.start.start_methods import Descriptors
from procession.system import lifeline
from procession.system.interrupts import strikes
from procession.system.pristine import socket
from procession.worker.current import end_copy, mark_worker_process, while_loading
from procession.worker.preparing import prepare, run_initializer
from procession.worker.runner import Runner, flush_output

_OUTSIDE = """\
A worker of Procession ended, as an error was raised there outside of all items. A signal handler
that an item has set may do that later: put back the one before it, and cancel its alarm.
"""

_MOST_MODULES = 4096
"""Modules of one call that are told: all of scikit-learn and what it uses are 1,500."""


def main(descriptors: Descriptors, plan: Plan) -> None:
    """Run a worker process until it is told to stop."""
    channel, memory, life = descriptors.take()
    worker_setup.set_up(plan.method, plan.around)
    lifeline.arm_descriptor(life, group=True)
    box = worker_setup.observe(memory)
    box.up()
    sock = socket.socket(fileno=channel)
    worker = _Worker(sock, box, plan.method)
    try:
        if worker.prepare(plan):
            worker.serve()
    except BaseException as error:
        if isinstance(error, SystemExit) and strikes(error):
            raise  # a signal handler wants an end in order
        _fail(box, error)
    sock.detach()  # the descriptor closes with the process, when its exit handlers have run


def _fail(box: BlackBox, error: BaseException) -> NoReturn:
    """End at once, and leave word why: nothing is known of what was under way.

    Were the process to end in order, it would close its channel, and then wait for threads that
    items have left. So it would be taken for one whose items have closed the channel.
    """
    import traceback

    text = _OUTSIDE
    try:
        text += "".join(traceback.format_exception(error))
    except BaseException:
        text += type(error).__name__  # its own code does as it likes
    box.remember(text)
    try:
        os.write(2, text.encode(errors="replace"))
    finally:
        os._exit(1)


class _Worker:
    def __init__(self, sock: socket.socket, box: BlackBox, method: str) -> None:
        self._sock = sock
        self._box = box
        self._receiver = Receiver(sock)
        self._runner = Runner(inherits=method == "fork" or start_methods.inherits)
        self._outbox = Outbox(sock, box)
        self._calls = CallLoop(sock, box, self._runner)
        self._inbox: list[Any] = []
        self._modules: frozenset[str] | None = None  # those that a spare had before its call

    def prepare(self, plan: Plan) -> bool:
        """Do all that comes before the first item. Whether the worker is ready."""
        mark_worker_process()
        me = os.getpid()
        try:
            _prepare(plan)
        except BaseException as error:
            if os.getpid() != me:
                end_copy("the set-up of a worker", error)
            from procession.pickling.exceptions import dump_exception
            from procession.pickling.notes import IN_SET_UP, add_note

            add_note(error, IN_SET_UP)
            flush_output()
            send_all(self._sock, frame((messages.FAILED, dump_exception(error, "by-value"))))
            return False
        if os.getpid() != me:
            end_copy("the set-up of a worker")
        if plan.rehearse:
            self._rehearse()
        try:
            send_all(self._sock, frame((messages.HELLO, me)))
        except OSError:
            return False  # the parent is gone, or takes us for dead
        return True

    def _rehearse(self) -> None:
        """Run an item of no meaning: what a first item loads and touches costs 2 to 20 ms.

        Worth it where a worker waits for a single call.
        """
        worker_setup.load(worker_setup.ITEMS_NEED)
        from procession.functions.packed_function import dump_function
        from procession.pickling.pickler import dumps
        from procession.worker.job_header import Settings, pack_header

        function = dump_function(abs, None, "strict")
        header = pack_header(function, dumps(((), (), {})), Settings("abs", "value", "strict"))
        items = [Item(0, -1, dumps(-1))]
        parts = messages.pack_task(Job(-1, "abs", header), items, True, ())
        for message, segments in parse(parts):
            task = messages.unpack_task(message, segments)
            assert task.header is not None
            self._runner.learn(task.key, *task.header)
            replies: list[Reply] = []
            self._runner.run(task.key, task.items, replies.append, _always)
            self._runner.forget(task.key)
            messages.pack_replies(messages.DONE, replies, 0)

    def serve(self) -> None:
        """Run what comes, until STOP comes or the parent is gone."""
        while True:
            message, segments = self.next_message()
            kind = message[0]
            if kind == messages.STOP:
                return
            if kind == messages.FORGET:
                self._forget(message[1])
                continue
            if kind == messages.LEARN:
                self._learn_ahead(*message[1:])
                continue
            try:
                if kind == messages.CALL:
                    if self._calls.run(*message[1:]):
                        housekeeper.look()
                    else:
                        self._run_begun(*message[1:])
                elif kind == messages.CALLS:
                    self._calls.run_all(message[1], message[2], self._run_begun)
                    housekeeper.look()
                elif kind == messages.TASK:
                    self._run(messages.unpack_task(message, segments), self._box.next_chunk())
                if self._modules is not None:
                    self._tell_imports(self._modules)
            except OSError as error:
                if not self._lost(error):
                    raise
                return
            # What the task held is not to be kept until the next one comes.
            del message, segments

    def _learn_ahead(self, key: int, header: Any, modules: Sequence[str]) -> None:
        """As a spare: get ready for the job that the next call is likely to be of."""
        with while_loading():
            worker_setup.load(modules)
        self._runner.learn(key, header)
        self._calls.prepare(key)
        self._modules = frozenset(sys.modules)

    def _tell_imports(self, before: frozenset[str]) -> None:
        """Tell what the call has imported, so that later spares do so before theirs."""
        # What is no text a program has put there by hand.
        new = tuple([n for n in list(sys.modules) if n not in before and class_of(n) is str])
        if 0 < len(new) < _MOST_MODULES:
            send_all(self._sock, frame((messages.IMPORTED, new)))

    def next_message(self) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Wait for one message; the parent's end counts as STOP."""
        while not self._inbox:
            try:
                self._inbox += self._receiver.read()
            except EOFError:
                return (messages.STOP,), ()
            except OSError as error:  # it may have gone with a reply unread
                self._lost(error)
                return (messages.STOP,), ()
        received: tuple[tuple[Any, ...], Sequence[Any]] = self._inbox.pop(0)
        return received

    def _lost(self, error: OSError) -> bool:
        """Whether the channel is of no use: the parent is gone, or an item has closed it here."""
        closed_here = error.errno in (errno.EBADF, errno.ENOTSOCK)
        if closed_here:
            self._box.desert()
        return closed_here or isinstance(error, ConnectionError)

    def _run_begun(self, key: int, index: int, given: Any) -> None:
        """Run a call that was counted already, and asks for more than `CallLoop` does."""
        self._run(messages.task_of_call(key, index, given), self._box.chunk)

    def _run(self, task: messages.Task, chunk: int) -> None:
        if task.forget:
            self._forget(task.forget)
        if task.ahead:
            from procession.process.far_side.stream_producer import Producer

            Producer(self, task).run()
            return
        if task.header is not None:
            self._runner.learn(task.key, *task.header)
        outbox, column = self._outbox, task.column
        if column is not None:
            indexes, body, limited, at_once = column
            each = self._runner.wants_each(task.key)
            outbox.begin_column(chunk, indexes, wants_each=each, limited=limited, at_once=at_once)
            self._runner.run_column(task.key, indexes, body, outbox)
        else:
            # What lies in shared memory is the item's to change, so it must not have to run again.
            several = len(task.items) > 1
            shares = any(item[3] and isinstance(item[3], tuple) for item in task.items)
            outbox.begin_items(chunk, len(task.items), prompt=several and shares)
            self._runner.run(task.key, task.items, outbox.emit, outbox.start)
        outbox.finish()

    def _forget(self, keys: Sequence[int]) -> None:
        for key in keys:
            self._runner.forget(key)


def _prepare(plan: Plan) -> None:
    prepare(plan.threads, forked=plan.method == "fork")
    with while_loading():
        worker_setup.load(plan.preload)
    if plan.initializer:
        run_initializer(plan.initializer)
    with while_loading():
        worker_setup.load(plan.modules)


def _always(_: int) -> bool:
    return True
