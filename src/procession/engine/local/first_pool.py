"""A program's first call that goes to a pool: its fork server boots while the rest is imported.

Importing what a pool needs takes some 50 ms here, and so does the boot of the server there. A call
that may run its items here waits with both until they are worth it (`engine.local.short_map`).
"""

from __future__ import annotations

from procession.engine.call import Call
from procession.functions.needs import needs_cloudpickle
from procession.process.start.start_methods import prepare
from procession.system import cpython
from procession.worker.current import in_worker

__all__ = ["expect_pool"]


def expect_pool(call: Call) -> None:
    """Begin with the start of this process's first pool, if the call certainly needs one."""
    if cpython.loaded("procession.backends.registry") is not None or in_worker():
        return
    options = call.options
    if options.on_cluster or not (call.isolated or options.backend == "process"):
        return
    try:
        prepare(options.context, by_value=needs_cloudpickle(call.function, call.decorated))
    except Exception:
        pass  # the call itself says what is wrong
