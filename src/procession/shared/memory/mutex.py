"""The mutex that works on this system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession.shared.memory import posix_semaphores as semaphores

if TYPE_CHECKING or semaphores.usable():
    from procession.shared.memory.semaphore_mutex import SemaphoreMutex as Mutex
else:
    from procession.shared.memory.polled_mutex import PolledMutex as Mutex

__all__ = ["Mutex"]
