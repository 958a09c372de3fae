"""What items print goes out before their replies do: the worker may be killed afterwards."""

from __future__ import annotations

import sys

__all__ = ["flush_output"]


def flush_output() -> None:
    """Write out what `print` has buffered. A full or closed stdout is nobody's failure here.

    With nothing to write it takes less than a microsecond.
    """
    try:
        sys.stdout.flush()
    except Exception:
        pass
    stderr = sys.stderr
    if not getattr(stderr, "write_through", False):
        try:
            stderr.flush()
        except Exception:
            pass
