"""The environment's variables, read again only after one has changed.

`os.environ` decodes each of its variables whenever it is read, and a start takes several looks.
"""

from __future__ import annotations

import os

from procession.hints import Any
from procession.system import cpython

__all__ = ["variables"]

_last: tuple[Any, dict[str, str]] = None, {}


def variables() -> dict[str, str]:
    """All of them; not to be changed."""
    global _last
    now = cpython.environment
    seen, found = _last
    if now is None or now != seen:
        seen = None if now is None else dict(now)  # first: another thread may change one meanwhile
        found = dict(os.environ)
        _last = seen, found
    return found
