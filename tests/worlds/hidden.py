"""Programs whose descriptors no other process can open through /proc."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

__all__ = ["UNDUMPABLE", "without_proc"]

UNDUMPABLE = """
import ctypes, os, struct
c = ctypes.CDLL(None)
if os.geteuid() == 0:  # root may look into all, by a capability that is given up here
    c.prctl(24, 19, 0, 0, 0)
    head = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    body = ctypes.create_string_buffer(24)
    assert c.capget(head, body) == 0
    words = [word & ~(1 << 19) for word in struct.unpack("6I", body.raw)]
    body.raw = struct.pack("6I", *words)
    assert c.capset(head, body) == 0
assert c.prctl(4, 0, 0, 0, 0) == 0
"""
"""Makes a process one that is not dumpable, as `os.setuid` does."""


@cache
def without_proc() -> tuple[str, ...]:
    """What to put in front of a command so that it finds an empty /proc; empty: it may not."""
    for unshare in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        command = [*unshare, "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
        if (
            shutil.which("unshare")
            and not subprocess.run(
                [*command, "true"], capture_output=True, env={"PATH": os.environ["PATH"]}
            ).returncode
        ):
            return tuple(command)
    return ()
