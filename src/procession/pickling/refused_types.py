"""The types that must not cross to another process: why, and what to do instead.

Types are known by name, so that nothing is imported to refuse what the program has not imported
either. A class that inherits from one of them is refused with it. It is not if it says itself,
below that type, how it is pickled (``__reduce__``, ``__reduce_ex__`` or ``__getstate__``).
"""

from __future__ import annotations

import sys

from procession.hints import Any
from procession.pickling.refusals import Refusal

_OWN = ("__reduce__", "__reduce_ex__", "__getstate__")


def refusal_of(cls: type) -> Refusal | None:
    """Why instances of `cls` must not cross, or `None` if they may."""
    for base in cls.__mro__:
        refusal = TABLE.get(f"{base.__module__}.{base.__qualname__}")
        if refusal is not None:
            return refusal
        if base is not object and any(name in base.__dict__ for name in _OWN):
            return None
    return _database(cls)


def is_handle(cls: type) -> bool:
    """Whether objects of a type are handles of a library: they hold connections or open files."""
    return any(f"{base.__module__}.{base.__qualname__}" in HANDLES for base in cls.__mro__)


def _database(cls: type) -> Refusal | None:
    """Connections and cursors of any PEP 249 driver, by their methods and by name or module."""
    for refusal, methods, name in (
        (_DATABASE, "cursor commit rollback close", "connection"),
        (_CURSOR, "execute executemany fetchone fetchmany fetchall close", "cursor"),
    ):
        known = name in cls.__name__.lower() or _is_driver(cls.__module__)
        if known and all(_has(cls, method) for method in methods.split()):
            return refusal
    return None


def _has(cls: type, method: str) -> bool:
    return any(method in base.__dict__ for base in cls.__mro__)


def _is_driver(module: Any) -> bool:
    top = sys.modules.get(str(module).partition(".")[0])
    return top is not None and hasattr(top, "apilevel") and hasattr(top, "paramstyle")


# -- the types ------------------------------------------------------------------------------------

TABLE: dict[str, Refusal] = {}
HANDLES: set[str] = set()

_OWNED = "belongs to the process that made it."
_HERE = "runs in the process that started it."
_SHARED = "Create it inside the function, {leave_out}or pass procession.shared.%s()."
_MAKE = "Create it inside the function{or_leave_out}."
_ASYNC = "belongs to the event loop that it was made in."
_RUN = "Await it, or make it, inside the function{or_leave_out}."
_PAUSED = "is a paused call of this process."
_LIST = "Pass a list, or make it inside the function{or_leave_out}."
_PASS = "Pass %s{or_leave_out}."
_PER_WORKER = (
    "Open it inside the function, {leave_out}or open one per worker with "
    "procession.per_worker(factory)."
)


def _refuse(what: str, reason: str, mend: str, *types: str) -> None:
    """`types` are full names, with spaces between them."""
    refusal = Refusal(what, f"{what[0].upper()}{what[1:]} {reason}", mend)
    TABLE.update(dict.fromkeys(" ".join(types).split(), refusal))


def _named(kind: str, reason: str, mend: str, types: str) -> None:
    """Types that are told by their public names; `kind` begins the reason.

    A type's public name follows it after ``=``, where it is not its module and its name.
    """
    for each in types.split():
        name, _, public = each.partition("=")
        first, _, last = name.partition(".")
        public = public or f"{first.lstrip('_')}.{last.rpartition('.')[2]}"
        what = f"{'an' if public[0] in 'aeiou' else 'a'} {public}"
        last = public.rpartition(".")[2]
        TABLE[name] = Refusal(what, f"{kind} {reason}", mend % last if "%s" in mend else mend)


def _handle(what: str, types: str, reason: str = "holds connections of this process.") -> None:
    """Handles of a library, whose own errors would name a lock deep inside."""
    _refuse(what, reason, _PER_WORKER, types)
    HANDLES.update(types.split())


_SYNC = "multiprocessing.synchronize"
for _kind, _types in {
    "A lock": f"""
        _thread.lock=threading.Lock _thread.RLock=threading.RLock threading._RLock=threading.RLock
        {_SYNC}.Lock {_SYNC}.RLock""",
    "A condition": f"threading.Condition {_SYNC}.Condition",
    "An event": f"threading.Event {_SYNC}.Event",
    "A semaphore": f"""
        threading.Semaphore threading.BoundedSemaphore {_SYNC}.Semaphore {_SYNC}.BoundedSemaphore
        {_SYNC}.SemLock=multiprocessing.Semaphore
        _multiprocessing.SemLock=multiprocessing.Semaphore""",
    "A barrier": f"threading.Barrier {_SYNC}.Barrier",
}.items():
    _named(_kind, _OWNED, _SHARED, _types)
_named(
    "A queue",
    _OWNED,
    _SHARED % "Queue",
    """queue.Queue _queue.SimpleQueue multiprocessing.queues.Queue
    multiprocessing.queues.SimpleQueue multiprocessing.queues.JoinableQueue""",
)
_refuse(
    "a multiprocessing shared value",
    "can only be inherited by a child of the process that made it.",
    "Pass procession.shared.Value() or procession.shared.Array() instead{or_leave_out}.",
    "multiprocessing.sharedctypes.SynchronizedBase multiprocessing.heap.BufferWrapper",
)
_refuse(
    "a multiprocessing Connection",
    "is a descriptor number, which means another file in another process.",
    _SHARED % "Pipe",
    "multiprocessing.connection._ConnectionBase multiprocessing.connection.Listener",
)
_refuse(
    "a threading.local",
    "holds values of this process's threads.",
    _MAKE,
    "_thread._local _threading_local.local",
)
_refuse("a thread", _HERE, _MAKE, "threading.Thread _thread._ThreadHandle")
_refuse(
    "a process",
    "can only be watched and joined by its parent.",
    _MAKE,
    "multiprocessing.process.BaseProcess subprocess.Popen asyncio.subprocess.Process",
)
_refuse(
    "a pool",
    "belongs to the process that made it, with its workers and threads.",
    "Use it in the caller, or make one inside the function{or_leave_out}.",
    """concurrent.futures._base.Executor multiprocessing.pool.Pool
    multiprocessing.managers.BaseManager""",
)
_refuse(
    "a future",
    "is settled by the process that made it.",
    _PASS % "what its result() gives",
    "concurrent.futures._base.Future",
)
# socket.socket has a __getstate__, which raises.
_refuse("a socket", "is a connection of this process.", _PER_WORKER, "_socket.socket socket.socket")
_refuse("an SSL context", "lives in this process's memory.", _PER_WORKER, "_ssl._SSLContext")
_refuse(
    "a selector",
    "watches descriptors of this process.",
    _MAKE,
    "selectors.BaseSelector select.epoll select.poll",
)
_refuse(
    "an open file",
    "is a descriptor and a position of this process.",
    "Pass its path and open it inside the function{or_leave_out}.",
    """_io.TextIOWrapper _io.BufferedReader _io.BufferedWriter _io.BufferedRandom
    _io.BufferedRWPair _io.FileIO _pyio.IOBase""",
    """tempfile._TemporaryFileWrapper tempfile.SpooledTemporaryFile gzip.GzipFile bz2.BZ2File
    lzma.LZMAFile zipfile.ZipFile tarfile.TarFile posix.ScandirIterator
    codecs.StreamReaderWriter""",
)
_refuse(
    "a temporary directory",
    "is deleted by the first process that drops its copy.",
    _PASS % "its .name",
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
    _PASS % "bytes(view)",
    "builtins.memoryview",
)
_refuse("a generator", _PAUSED, _LIST, "builtins.generator")
_refuse("an async generator", _PAUSED, _LIST, "builtins.async_generator")
_refuse("a coroutine", _PAUSED, _RUN, "builtins.coroutine")
_refuse(
    "an awaitable of a coroutine",
    _PAUSED,
    _RUN,
    """builtins.coroutine_wrapper builtins.async_generator_asend
    builtins.async_generator_athrow""",
)
_refuse(
    "a frame", "is a running call of this process.", _PASS % "what you need of it", "builtins.frame"
)
_refuse(
    "a traceback",
    "holds running calls of this process.",
    _PASS % "traceback.format_exception(error) or the exception itself",
    "builtins.traceback",
)
_refuse(
    "a weak reference",
    "points at an object of this process and would arrive dead.",
    _PASS % "the object itself",
    """builtins.weakref builtins.weakproxy builtins.weakcallableproxy weakref.ReferenceType
    weakref.ProxyType weakref.CallableProxyType weakref.WeakMethod weakref.WeakValueDictionary
    weakref.WeakKeyDictionary _weakrefset.WeakSet""",
)
_refuse(
    "a finalizer",
    "watches an object of this process.",
    _MAKE,
    "weakref.finalize multiprocessing.util.Finalize",
)
_refuse(
    "a ctypes pointer",
    "is an address in this process.",
    _PASS % "the data it points at",
    """_ctypes._Pointer _ctypes.CFuncPtr _ctypes.CField ctypes.CDLL ctypes.c_void_p
    ctypes.c_char_p ctypes.c_wchar_p ctypes.py_object""",
)
_refuse(
    "a logging handler",
    "holds a lock and a stream of this process.",
    _PASS % "the logger's name and call logging.getLogger(name) there",
    "logging.Handler",
)
for _kind in ("A lock", "An event", "A condition", "A semaphore", "A barrier"):
    _type = f"asyncio.locks.{_kind.split()[1].title()}"
    _named(f"{_kind} of asyncio", _ASYNC, _MAKE, _type)
_named("A queue of asyncio", _ASYNC, _MAKE, "asyncio.queues.Queue")
_refuse(
    "an event loop",
    "runs in one thread of this process.",
    _MAKE,
    "asyncio.events.AbstractEventLoop",
)
_refuse("an asyncio future", _ASYNC, _RUN, "_asyncio.Future asyncio.futures.Future")
_refuse("an asyncio task", _ASYNC, _RUN, "_asyncio.Task asyncio.tasks.Task")
_refuse(
    "an asyncio object",
    _ASYNC,
    _MAKE,
    "asyncio.events.Handle asyncio.events.AbstractServer asyncio.runners.Runner",
    """asyncio.streams.StreamReader asyncio.streams.StreamWriter asyncio.taskgroups.TaskGroup
    asyncio.timeouts.Timeout asyncio.transports.BaseTransport asyncio.protocols.BaseProtocol""",
)
_refuse(
    "a contextvars.Context",
    "cannot be copied out of this process.",
    _PASS % "the values that are needed",
    "_contextvars.Context",
)
_refuse(
    "a contextvars.Token",
    "can only be used in the context that made it.",
    _PASS % "the values that are needed",
    "_contextvars.Token",
)
_refuse("a database connection", "belongs to this process.", _PER_WORKER, "sqlite3.Connection")
_refuse(
    "a database cursor",
    "belongs to a connection of this process.",
    "Pass the rows it fetched, or open a connection inside the function{or_leave_out}.",
    "sqlite3.Cursor sqlite3.Blob",
)
_DATABASE, _CURSOR = TABLE["sqlite3.Connection"], TABLE["sqlite3.Cursor"]

_handle("an httpx client", "httpx.Client httpx.AsyncClient")
_handle("an aiohttp session", "aiohttp.client.ClientSession")
_handle(
    "a pool of HTTP connections",
    "urllib3.poolmanager.PoolManager urllib3.connectionpool.ConnectionPool",
)
_handle("an HTTP connection", "http.client.HTTPConnection")
_handle(
    "a SQLAlchemy engine", "sqlalchemy.engine.base.Engine sqlalchemy.ext.asyncio.engine.AsyncEngine"
)
_handle(
    "a SQLAlchemy connection",
    "sqlalchemy.engine.base.Connection sqlalchemy.ext.asyncio.engine.AsyncConnection",
)
_handle("a SQLAlchemy connection pool", "sqlalchemy.pool.base.Pool")
_handle(
    "a SQLAlchemy session",
    """sqlalchemy.orm.session.Session sqlalchemy.orm.session.sessionmaker
    sqlalchemy.orm.scoping.scoped_session sqlalchemy.ext.asyncio.session.AsyncSession
    sqlalchemy.ext.asyncio.session.async_sessionmaker""",
)
_handle(
    "a Redis client",
    """redis.client.Redis redis.asyncio.client.Redis redis.cluster.RedisCluster
    redis.connection.ConnectionPool""",
)
_handle(
    "a connection pool",
    """psycopg_pool.pool.ConnectionPool psycopg_pool.pool_async.AsyncConnectionPool
    psycopg2.pool.AbstractConnectionPool asyncpg.pool.Pool""",
)
_handle(
    "a database connection",
    """asyncpg.connection.Connection duckdb.duckdb.DuckDBPyConnection
    _duckdb.DuckDBPyConnection""",
)
_handle(
    "a MongoDB client",
    "pymongo.mongo_client.MongoClient pymongo.synchronous.mongo_client.MongoClient",
)
_handle("an AWS client", "botocore.client.BaseClient boto3.resources.base.ServiceResource")
_handle("an AWS session", "boto3.session.Session botocore.session.Session")
_handle("a gRPC channel", "grpc.Channel")
_handle("an SSH connection", "paramiko.client.SSHClient paramiko.transport.Transport")
_handle("an SMTP connection", "smtplib.SMTP")
_handle("an FTP connection", "ftplib.FTP")
_handle("a browser", "selenium.webdriver.remote.webdriver.WebDriver")

_OPEN = "belongs to a file that this process has open."
_handle("an HDF5 object", "h5py._hl.base.HLObject tables.file.File tables.node.Node", _OPEN)
_handle("an HDF5 store", "pandas.io.pytables.HDFStore", _OPEN)
_handle("a netCDF dataset", "netCDF4._netCDF4.Dataset netCDF4._netCDF4.Variable", _OPEN)
_handle("a video", "cv2.VideoCapture cv2.VideoWriter", _OPEN)
_handle("a raster dataset", "rasterio._io.DatasetReaderBase rasterio._base.DatasetBase", _OPEN)
_handle(
    "a Parquet file", "pyarrow.parquet.core.ParquetFile pyarrow.parquet.core.ParquetWriter", _OPEN
)
