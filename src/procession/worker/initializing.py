"""Running the user's initializer in a worker that starts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from procession.wire.initializing import Packed, open_initializer
from procession.worker.state import base_context

__all__ = ["run_initializer"]


def run_initializer(packed: Packed) -> tuple[Callable[..., object], tuple[Any, ...]]:
    """Run the initializer; what it sets in the context holds for every item.

    Raises:
        BaseException: What the initializer raises. As the standard library does, it is logged too,
            if the worker's logging is set up.
    """
    initializer, initargs = open_initializer(packed)
    try:
        base_context.run(initializer, *initargs)
    except BaseException:
        logging: Any = sys.modules.get("logging")
        logger = None if logging is None else logging.getLogger("concurrent.futures")
        if logger is not None and logger.hasHandlers():
            logger.critical("Exception in initializer:", exc_info=True)
        raise
    return initializer, initargs
