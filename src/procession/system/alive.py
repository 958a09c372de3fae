"""Whether a process lives, and whether it is about to be gone."""

from __future__ import annotations

import os

__all__ = ["is_ending", "runs"]

_EXITING = 0x4  # PF_EXITING in the kernel: set before the process's descriptors are closed


def runs(pid: int) -> bool:
    """Whether there is such a process; one that is dead and was not waited for counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def is_ending(pid: int) -> bool:
    """Whether a process is dead or dying; also where the system does not tell (no ``/proc``).

    Its channel is closed a moment before others can see that it is dead.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return bool(int(fields[6]) & _EXITING)
    except (OSError, ValueError, IndexError):
        return True
