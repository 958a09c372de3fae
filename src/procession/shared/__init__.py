"""What several processes may touch: locks, queues, pipes, values and containers.

    from procession import parallel, shared

    hits = shared.Value("i", 0)

    @parallel
    def count(path: Path, hits: shared.Synchronized[int]) -> None:
        with hits.get_lock():
            hits.value += 1

All of them can be passed as ordinary arguments, or inside one, to any worker of any local backend
and start context. Plain `multiprocessing` processes take them too. They behave as those of
`multiprocessing` do, and go on working when a process is killed that uses them. They work between
processes of one user on one machine. Names are loaded when they are first used.
"""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from procession.shared.arrays import array as array
    from procession.shared.arrays import zeros as zeros
    from procession.shared.barrier import Barrier as Barrier
    from procession.shared.condition import Condition as Condition
    from procession.shared.condition import Event as Event
    from procession.shared.dict import Dict as Dict
    from procession.shared.dict import Namespace as Namespace
    from procession.shared.list import List as List
    from procession.shared.locks import BoundedSemaphore as BoundedSemaphore
    from procession.shared.locks import Lock as Lock
    from procession.shared.locks import RLock as RLock
    from procession.shared.locks import Semaphore as Semaphore
    from procession.shared.pipe import Connection as Connection
    from procession.shared.pipe import Pipe as Pipe
    from procession.shared.put_once import put as put
    from procession.shared.queue import Queue as Queue
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
    "barrier": ("Barrier",),
    "condition": ("Condition", "Event"),
    "dict": ("Dict", "Namespace"),
    "list": ("List",),
    "locks": ("BoundedSemaphore", "Lock", "RLock", "Semaphore"),
    "pipe": ("Connection", "Pipe"),
    "put_once": ("put",),
    "queue": ("Queue",),
    "values": ("Array", "Synchronized", "SynchronizedArray", "SynchronizedString", "Value"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # else a checker takes every misspelt name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'procession.shared' has no attribute {name!r}")
        from importlib import import_module

        from procession.system.posix import OWN_WORKERS

        if not OWN_WORKERS and name != "put":
            return _refused(name)
        value = getattr(import_module(f"procession.shared.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def _refused(name: str) -> type:
    """Stands for what cannot be shared on this platform: can be named, and says so if called."""

    def refuse(cls: type, *args: object, **kwargs: object) -> object:
        from procession.system.posix import refuse

        raise refuse(
            f"shared.{name}()",
            "Pass data as arguments and results, or by shared.put(); or take multiprocessing's "
            f"Manager().{name}().",
        )

    def named(cls: type, parameters: object) -> type:
        return cls

    return type(name, (), {"__new__": refuse, "__class_getitem__": classmethod(named)})


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
