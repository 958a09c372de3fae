"""A program's first call that goes to a pool: its fork server boots while the rest is imported.

Importing what a pool needs takes some 50 ms here, and so does the boot of the server there. A call
that may run its items here waits with both until they are worth it (`engine.local.short_map`).
"""

from __future__ import annotations

from procession.engine.call import Call
from procession.engine.local.hashing import agreeing
from procession.functions.needs import needs_cloudpickle
from procession.process.start.starting import method_of, prepare
from procession.system import cpython
from procession.worker.current import in_worker

__all__ = ["begin_pool", "expect_pool"]


def expect_pool(call: Call) -> None:
    """Begin with the start of this process's first pool, if the call certainly needs one."""
    if cpython.loaded("procession.backends.registry") is not None or in_worker():
        return
    options = call.options
    if options.on_cluster or not (call.isolated or options.backend == "process"):
        return
    try:
        prepare(options.context, by_value=needs_cloudpickle(call.function, call.decorated))
        forks = method_of(options.context) == "fork"  # which waits until nothing is imported
    except Exception:
        return  # the call itself says what is wrong
    if not forks:
        begin_pool(call)


def begin_pool(call: Call) -> None:
    """Start the first worker for a call: it boots while the rest is imported here.

    Which pool that is, `Where` would say, too; but that takes longer to import.
    """
    try:
        from procession.backends.pool_choice import choice_of
        from procession.backends.registry import backend_for, none_open

        if none_open():
            pool = backend_for(choice_of(agreeing(call), call.function, isolated=call.isolated))
            start = getattr(pool, "warm_up", None)
            if start is not None:
                start(1)
    except Exception:
        pass  # as above
