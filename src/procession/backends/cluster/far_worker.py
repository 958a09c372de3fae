"""What a worker on a machine of the cluster does before its first item."""

from __future__ import annotations

from procession.hints import Any
from procession.pickling.out_of_band import home_is_far
from procession.worker.current import name_host
from procession.worker.preparing import run_unpacked

__all__ = ["begin_far_worker"]


def begin_far_worker(host: str, initializer: Any) -> None:
    """Learn what the machine is called, and run the user's initializer.

    Args:
        host: The machine's name.
        initializer: The user's, packed with its arguments; or empty.
    """
    name_host(host)
    home_is_far()
    if initializer:
        run_unpacked(initializer)
