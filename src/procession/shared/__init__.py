"""What several processes may touch: locks, queues, pipes, values and containers.

    from procession import parallel, shared

    hits = shared.Value("i", 0)

    @parallel
    def count(path: Path, hits: shared.Synchronized[int]) -> None:
        with hits.get_lock():
            hits.value += 1

All of them can be passed as ordinary arguments, or inside one, to any worker of any local backend
and start context, and to plain `multiprocessing` processes. They behave as those of
`multiprocessing` do, and outlive whoever is killed while using them. They work between processes of
one user on one machine. Names are loaded when they are first used.
"""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from procession.shared.arrays import array as array
    from procession.shared.arrays import zeros as zeros
    from procession.shared.containers.dict import Dict as Dict
    from procession.shared.containers.list import List as List
    from procession.shared.containers.namespace import Namespace as Namespace
    from procession.shared.containers.pipe import Connection as Connection
    from procession.shared.containers.pipe import Pipe as Pipe
    from procession.shared.containers.queue import Queue as Queue
    from procession.shared.put_once import put as put
    from procession.shared.sync.barrier import Barrier as Barrier
    from procession.shared.sync.condition import Condition as Condition
    from procession.shared.sync.event import Event as Event
    from procession.shared.sync.locks import Lock as Lock
    from procession.shared.sync.locks import RLock as RLock
    from procession.shared.sync.semaphore import BoundedSemaphore as BoundedSemaphore
    from procession.shared.sync.semaphore import Semaphore as Semaphore
    from procession.shared.values import Array as Array
    from procession.shared.values import Synchronized as Synchronized
    from procession.shared.values import SynchronizedArray as SynchronizedArray
    from procession.shared.values import SynchronizedString as SynchronizedString
    from procession.shared.values import Value as Value

__all__ = [
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Connection",
    "Dict",
    "Event",
    "List",
    "Lock",
    "Namespace",
    "Pipe",
    "Queue",
    "RLock",
    "Semaphore",
    "Synchronized",
    "SynchronizedArray",
    "SynchronizedString",
    "Value",
    "array",
    "put",
    "zeros",
]

_HOMES = {
    "arrays": ("array", "zeros"),
    "sync.barrier": ("Barrier",),
    "put_once": ("put",),
    "sync.condition": ("Condition",),
    "containers.dict": ("Dict",),
    "sync.event": ("Event",),
    "containers.list": ("List",),
    "sync.locks": ("Lock", "RLock"),
    "containers.namespace": ("Namespace",),
    "containers.pipe": ("Connection", "Pipe"),
    "containers.queue": ("Queue",),
    "sync.semaphore": ("BoundedSemaphore", "Semaphore"),
    "values": ("Array", "Synchronized", "SynchronizedArray", "SynchronizedString", "Value"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # else a checker takes every misspelt name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'procession.shared' has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"procession.shared.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
