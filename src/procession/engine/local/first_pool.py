"""The start of a program's first pool, which takes some 50 ms here and 50 in its fork server.

A call that certainly needs a pool has the server boot while the rest is imported: `expect_pool`. A
map that may run its items here waits with both until they are worth it. A helper thread finds that
out while the main thread runs items, and has some hundred modules to import then, with many system
calls. After each of these it would wait for the GIL, for one short turn of the items: ten times
longer in all than the imports take by themselves. So the items wait instead: `MainThreadPause`. The
server that is a copy of the program is forked first, when no thread is amid anything, and imports
what workers need meanwhile.

If the main thread does not come by soon, as an item takes long, nothing stands still.
"""

from __future__ import annotations

from procession.engine.call import Call
from procession.functions.needs import needs_cloudpickle
from procession.system import after_fork, cpython
from procession.system.wakeup import Wakeup
from procession.worker.current import in_worker

_PATIENCE = 0.05
"""Seconds for which the helper waits. Some slices of short items are run in that time."""

_LONGEST = 0.5
"""Seconds for which the items wait at most, should an import hang. They take a tenth of it."""


def expect_pool(call: Call) -> None:
    """Begin with the start of this process's first pool, if the call certainly needs one."""
    if cpython.loaded("procession.backends.registry") is not None or in_worker():
        return
    options = call.options
    if options.on_cluster or not (call.isolated or options.backend == "process"):
        return
    from procession.process.start.start_methods import prepare

    try:
        prepare(options.context, by_value=needs_cloudpickle(call.function, call.decorated))
    except Exception:
        pass  # the call itself says what is wrong


class MainThreadPause:
    """One map's request.

    Attributes:
        asked: Whether the main thread is to stand still.
    """

    __slots__ = ("_by_value", "_copied", "_go_on", "_lock", "_reached", "asked")

    def __init__(self) -> None:
        self.asked = False
        self._by_value = True
        self._copied = False
        self._lock = after_fork.lock()
        self._reached = Wakeup()
        self._go_on = Wakeup()

    def begin(self, *, by_value: bool = True) -> bool:
        """In the helper thread: wait until it stands still, or for a while.

        Args:
            by_value: Whether the function will go by cloudpickle.

        Returns:
            Whether there is a server that is a copy.
        """
        self._by_value = by_value
        self._reached, self._go_on = Wakeup(), Wakeup()  # not used by an earlier one
        self.asked = True
        self._reached.wait(_PATIENCE)
        with self._lock:  # the main thread may be forking
            self.asked = False
            return self._copied

    def end(self) -> None:
        """In the helper thread: the items may go on."""
        self._go_on.wake()

    def pause(self) -> None:
        """In the thread that runs the items: stand still, if that is asked for."""
        with self._lock:
            if not self.asked:
                return
            self.asked = False
            self._copied = _fork(self._by_value)
        self._reached.wake()
        self._go_on.wait(_LONGEST)


def _fork(by_value: bool) -> bool:
    """Fork the copy, if there can be one. Whether there is."""
    from procession.process.start import zygote

    try:
        if not zygote.is_possible(1):
            return False
        from procession.process.start import fork_server
        from procession.process.start.start_methods import quietly

        server = fork_server.copy_server(1, by_value=by_value)
        if server is None:
            return False
        quietly(server.ensure_running)
        return True
    except Exception:
        return False  # another server is tried, which says what is wrong
