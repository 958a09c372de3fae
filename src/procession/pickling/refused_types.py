"""The types that must not cross to another process: why, and what to do instead.

Types are known by name, so that nothing is imported to refuse what the user has not imported
either.
"""

from __future__ import annotations

from procession.pickling.library_handles import CONNECTED, OPEN
from procession.system import NamedTuple

__all__ = ["CURSOR", "DATABASE", "TABLE", "Refusal"]


class Refusal(NamedTuple):
    """Why a type cannot cross.

    Attributes:
        what: The thing with its article, as a reader would call it.
        reason: Why it cannot cross, in one sentence.
        mend: What to do instead; ``{leave_out}`` stands for "leave it out in X.__getstate__".
    """

    what: str
    reason: str
    mend: str


_LOCK = "belongs to the process that made it."
_SHARED = "Create it inside the function, {leave_out}or pass procession.shared.%s()."
_MAKE = "Create it inside the function{or_leave_out}."
_ASYNC = "belongs to the event loop that it was made in."
_RUN = "Await it, or make it, inside the function{or_leave_out}."
_PER_WORKER = (
    "Open it inside the function, {leave_out}or open one per worker with "
    "procession.per_worker(factory)."
)
_FILE = "Pass its path and open it inside the function{or_leave_out}."

TABLE: dict[str, Refusal] = {}


def _refuse(what: str, reason: str, mend: str, *types: str) -> None:
    for name in types:
        TABLE[name] = Refusal(what, f"{what[0].upper()}{what[1:]} {reason}", mend)


def _named(kind: str, reason: str, mend: str, *types: str) -> None:
    for name in types:
        first, _, last = name.partition(".")
        public = f"{first.lstrip('_')}.{last.rpartition('.')[2]}"
        what = f"{'an' if public[0] in 'aeiou' else 'a'} {public}"
        TABLE[name] = Refusal(what, f"{kind} {reason}", mend)


def _locks(module: str, *names: str) -> None:
    for full in names:
        name, _, shown = full.partition("=")
        public = (shown or name).rpartition(".")[2]
        refusal = Refusal(
            f"a {module}.{public}",
            f"{_article(public)} {_LOCK}",
            _SHARED % public,
        )
        TABLE[name if "." in name else f"{module}.{name}"] = refusal


def _article(name: str) -> str:
    known = {"RLock": "A lock", "BoundedSemaphore": "A semaphore"}
    return known.get(name, f"{'An' if name[0] in 'AEIOU' else 'A'} {name.lower()}")


_locks(
    "threading",
    "_thread.lock=Lock",
    "_thread.RLock=RLock",
    "_RLock=RLock",
    "Condition",
    "Event",
    "Semaphore",
    "BoundedSemaphore",
    "Barrier",
)
_locks(
    "multiprocessing",
    "_multiprocessing.SemLock=Semaphore",
    "multiprocessing.synchronize.Lock=Lock",
    "multiprocessing.synchronize.RLock=RLock",
    "multiprocessing.synchronize.Condition=Condition",
    "multiprocessing.synchronize.Event=Event",
    "multiprocessing.synchronize.Semaphore=Semaphore",
    "multiprocessing.synchronize.BoundedSemaphore=BoundedSemaphore",
    "multiprocessing.synchronize.Barrier=Barrier",
    "multiprocessing.synchronize.SemLock=Semaphore",
    "multiprocessing.queues.Queue=Queue",
    "multiprocessing.queues.SimpleQueue=SimpleQueue",
)
_named("A queue", _LOCK, _SHARED % "Queue", "queue.Queue", "_queue.SimpleQueue")
_named("A queue", _LOCK, _SHARED % "Queue", "multiprocessing.queues.SimpleQueue")
_named("A queue", _LOCK, _SHARED % "Queue", "multiprocessing.queues.JoinableQueue")
_refuse(
    "a multiprocessing shared value",
    "can only be inherited by a child of the process that made it.",
    "Pass procession.shared.Value() or procession.shared.Array() instead{or_leave_out}.",
    "multiprocessing.sharedctypes.SynchronizedBase",
    "multiprocessing.heap.BufferWrapper",
)
_refuse(
    "a multiprocessing Connection",
    "is a descriptor number, which means another file in another process.",
    _SHARED % "Pipe",
    "multiprocessing.connection._ConnectionBase",
    "multiprocessing.connection.Listener",
)
_refuse(
    "a threading.local",
    "holds values of this process's threads.",
    _MAKE,
    "_thread._local",
    "_threading_local.local",
)
_refuse("a thread", "runs in the process that started it.", _MAKE, "threading.Thread")
_refuse("a thread", "runs in the process that started it.", _MAKE, "_thread._ThreadHandle")
_refuse(
    "a process",
    "can only be watched and joined by its parent.",
    _MAKE,
    "multiprocessing.process.BaseProcess",
    "subprocess.Popen",
    "asyncio.subprocess.Process",
)
_refuse(
    "a pool",
    "belongs to the process that made it, with its workers and threads.",
    "Use it in the caller, or make one inside the function{or_leave_out}.",
    "concurrent.futures._base.Executor",
    "multiprocessing.pool.Pool",
    "multiprocessing.managers.BaseManager",
)
_refuse(
    "a future",
    "is settled by the process that made it.",
    "Pass what its result() gives{or_leave_out}.",
    "concurrent.futures._base.Future",
)
_refuse("a socket", "is a connection of this process.", _PER_WORKER, "_socket.socket")
TABLE["socket.socket"] = TABLE["_socket.socket"]  # it has a __getstate__, which raises
_refuse("an SSL context", "lives in this process's memory.", _PER_WORKER, "_ssl._SSLContext")
_refuse("a selector", "watches descriptors of this process.", _MAKE, "selectors.BaseSelector")
_refuse("a selector", "watches descriptors of this process.", _MAKE, "select.epoll", "select.poll")
_refuse(
    "an open file",
    "is a descriptor and a position of this process.",
    _FILE,
    "_io.TextIOWrapper",
    "_io.BufferedReader",
    "_io.BufferedWriter",
    "_io.BufferedRandom",
    "_io.BufferedRWPair",
    "_io.FileIO",
    "_pyio.IOBase",
    "tempfile._TemporaryFileWrapper",
    "tempfile.SpooledTemporaryFile",
    "gzip.GzipFile",
    "bz2.BZ2File",
    "lzma.LZMAFile",
    "zipfile.ZipFile",
    "tarfile.TarFile",
    "posix.ScandirIterator",
    "codecs.StreamReaderWriter",
)
_refuse(
    "a temporary directory",
    "is deleted by whichever process drops its copy first.",
    "Pass its .name{or_leave_out}.",
    "tempfile.TemporaryDirectory",
)
_refuse(
    "a memory map",
    "is memory of this process.",
    "Pass the file's path and map it inside the function{or_leave_out}.",
    "mmap.mmap",
)
_refuse(
    "a memoryview",
    "looks into memory of this process.",
    "Pass bytes(view){or_leave_out}.",
    "builtins.memoryview",
)
_refuse(
    "a generator",
    "is a paused call of this process.",
    "Pass a list, or make it inside the function{or_leave_out}.",
    "builtins.generator",
)
_refuse(
    "an async generator",
    "is a paused call of this process.",
    "Pass a list, or make it inside the function{or_leave_out}.",
    "builtins.async_generator",
)
_refuse("a coroutine", "is a paused call of this process.", _RUN, "builtins.coroutine")
_refuse(
    "an awaitable of a coroutine",
    "is a paused call of this process.",
    _RUN,
    "builtins.coroutine_wrapper",
    "builtins.async_generator_asend",
    "builtins.async_generator_athrow",
)
_refuse(
    "a frame",
    "is a running call of this process.",
    "Pass what you need of it{or_leave_out}.",
    "builtins.frame",
)
_refuse(
    "a traceback",
    "holds running calls of this process.",
    "Pass traceback.format_exception(error) or the exception itself{or_leave_out}.",
    "builtins.traceback",
)
_refuse(
    "a weak reference",
    "points at an object of this process and would arrive dead.",
    "Pass the object itself{or_leave_out}.",
    "weakref.ReferenceType",
    "builtins.weakref",
    "builtins.weakproxy",
    "builtins.weakcallableproxy",
    "weakref.ProxyType",
    "weakref.CallableProxyType",
    "weakref.WeakMethod",
    "weakref.WeakValueDictionary",
    "weakref.WeakKeyDictionary",
    "_weakrefset.WeakSet",
)
_refuse(
    "a finalizer",
    "watches an object of this process.",
    _MAKE,
    "weakref.finalize",
    "multiprocessing.util.Finalize",
)
_refuse(
    "a ctypes pointer",
    "is an address in this process.",
    "Pass the data it points at{or_leave_out}.",
    "_ctypes._Pointer",
    "_ctypes.CFuncPtr",
    "ctypes.CDLL",
    "ctypes.c_void_p",
    "ctypes.c_char_p",
    "ctypes.c_wchar_p",
    "ctypes.py_object",
    "_ctypes.CField",
)
_refuse(
    "a logging handler",
    "holds a lock and a stream of this process.",
    "Pass the logger's name and call logging.getLogger(name) there{or_leave_out}.",
    "logging.Handler",
)
for _name in ("Lock", "Event", "Condition", "Semaphore", "Barrier"):
    _named(f"{_article(_name)} of asyncio", _ASYNC, _MAKE, f"asyncio.locks.{_name}")
_named("A queue of asyncio", _ASYNC, _MAKE, "asyncio.queues.Queue")
_refuse(
    "an event loop",
    "runs in one thread of this process.",
    _MAKE,
    "asyncio.events.AbstractEventLoop",
)
_refuse("an asyncio future", _ASYNC, _RUN, "_asyncio.Future", "asyncio.futures.Future")
_refuse("an asyncio task", _ASYNC, _RUN, "_asyncio.Task", "asyncio.tasks.Task")
_refuse(
    "an asyncio object",
    _ASYNC,
    _MAKE,
    "asyncio.events.Handle",
    "asyncio.events.AbstractServer",
    "asyncio.runners.Runner",
    "asyncio.streams.StreamReader",
    "asyncio.streams.StreamWriter",
    "asyncio.taskgroups.TaskGroup",
    "asyncio.timeouts.Timeout",
    "asyncio.transports.BaseTransport",
    "asyncio.protocols.BaseProtocol",
)
DATABASE = Refusal(
    "a database connection", "A database connection belongs to this process.", _PER_WORKER
)
CURSOR = Refusal(
    "a database cursor",
    "A database cursor belongs to a connection of this process.",
    "Pass the rows it fetched, or open a connection inside the function{or_leave_out}.",
)
TABLE["sqlite3.Connection"] = DATABASE
TABLE["sqlite3.Cursor"] = CURSOR
TABLE["sqlite3.Blob"] = CURSOR
for _what, _types in CONNECTED.items():
    _refuse(_what, "holds connections of this process.", _PER_WORKER, *_types)
for _what, _types in OPEN.items():
    _refuse(_what, "belongs to a file that this process has open.", _PER_WORKER, *_types)
_refuse(
    "a contextvars.Context",
    "cannot be copied out of this process.",
    "Pass the values that are needed{or_leave_out}.",
    "_contextvars.Context",
)
_refuse(
    "a contextvars.Token",
    "can only be used in the context that made it.",
    "Pass the values that are needed{or_leave_out}.",
    "_contextvars.Token",
)
