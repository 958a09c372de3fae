"""`@isolated`: what a plain call does for ordinary, ``async def`` and generator functions."""

from __future__ import annotations

from typing import Any

from procession.engine import verbs
from procession.engine.job import Call

__all__ = ["call"]


def call(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run one call in a process of its own and give its result."""
    return verbs.submit(call, args, kwargs).result()
