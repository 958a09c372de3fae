"""Files in memory are for the user's own processes alone."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

import procession
from procession import parallel
from procession.system.descriptors import nameless


@parallel(workers=1, inline=False, backend="process")
def modes(array: object, lock: object) -> list[int]:
    """The modes of the files in memory that this process holds."""
    return _modes()


def _modes() -> list[int]:
    found: list[int] = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if "memfd:" in os.readlink(entry):
                found.append(stat.S_IMODE(entry.stat().st_mode))
        except FileNotFoundError:
            continue  # the listing's own
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="memfd is Linux's")
def test_nobody_else_may_open_them() -> None:
    """Whatever a call uses, in the caller and in the worker, has mode 0600."""
    large = np.ones(200_000)
    there = modes.submit(large, procession.shared.Lock()).result()
    here = _modes()
    assert there
    assert here
    assert set(there) | set(here) == {0o600}
    procession.shutdown()


@pytest.mark.skipif(sys.platform != "linux", reason="memfd is Linux's")
def test_sealable() -> None:
    """It can be sealed only where that was asked for."""
    import fcntl

    for sealable in (True, False):
        descriptor = nameless("procession-test", sealable=sealable)
        try:
            if sealable:
                fcntl.fcntl(descriptor, 1033, 2)
            else:
                with pytest.raises(PermissionError):
                    fcntl.fcntl(descriptor, 1033, 2)
        finally:
            os.close(descriptor)
