"""Files in memory that have no name; Linux has them."""

from __future__ import annotations

import os

__all__ = ["nameless"]


def nameless(label: str, *, sealable: bool = False) -> int:
    """Make an empty file in memory; returns its descriptor.

    It has no name, but who may look into ``/proc/<pid>/fd`` can open it there: its mode lets
    nobody do so but the user whose process this is.

    Args:
        label: What it is called in ``/proc``.
        sealable: Whether it can be sealed.
    """
    flags = os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if sealable else 0)
    descriptor = os.memfd_create(label, flags)
    try:
        os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
