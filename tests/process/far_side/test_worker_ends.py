"""How a worker ends whose own code raises: by a signal handler that an item has left, say."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from procession import WorkerDied, parallel


def leave_a_trap(_: int) -> None:
    """Have the worker's own code raise, once this is over; and leave a thread that lives on."""
    from procession.process.far_side.call_loop import CallLoop
    from procession.process.far_side.outbox import Outbox

    def finish(*_: object) -> Any:
        signal.raise_signal(signal.SIGUSR1)

    def late(*_: object) -> None:
        raise LookupError("too late")

    signal.signal(signal.SIGUSR1, late)
    for owner, name in ((Outbox, "finish"), (CallLoop, "_give"), (CallLoop, "_send")):
        setattr(owner, name, finish)
    threading.Thread(target=time.sleep, args=(60,)).start()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_the_error_tells_what_was_raised(context: Any) -> None:
    """The worker ends at once, and is taken for none whose items close descriptors."""
    function = parallel(workers=1, inline=False, context=context)(leave_a_trap)
    for call in (lambda: function.map([1]), lambda: function.submit(1).result()):
        with pytest.raises(WorkerDied, match="outside of all items") as caught:
            call()
        assert "LookupError: too late" in str(caught.value)
        assert "signal handler" in str(caught.value)
        assert "closed its connection" not in str(caught.value)
        assert caught.value.exitcode == 1
