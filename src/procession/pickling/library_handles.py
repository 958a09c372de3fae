"""Handles of well-known libraries: what to say of each in place of its parts.

All of them hold connections or open files. None can be pickled; without a word of ours, the error
would name a lock or a weak reference deep inside.
"""

from __future__ import annotations

__all__ = ["CONNECTED", "OPEN", "is_handle"]

CONNECTED: dict[str, tuple[str, ...]] = {
    "an httpx client": ("httpx.Client", "httpx.AsyncClient"),
    "an aiohttp session": ("aiohttp.client.ClientSession",),
    "a pool of HTTP connections": (
        "urllib3.poolmanager.PoolManager",
        "urllib3.connectionpool.ConnectionPool",
    ),
    "an HTTP connection": ("http.client.HTTPConnection",),
    "a SQLAlchemy engine": (
        "sqlalchemy.engine.base.Engine",
        "sqlalchemy.ext.asyncio.engine.AsyncEngine",
    ),
    "a SQLAlchemy connection": (
        "sqlalchemy.engine.base.Connection",
        "sqlalchemy.ext.asyncio.engine.AsyncConnection",
    ),
    "a SQLAlchemy connection pool": ("sqlalchemy.pool.base.Pool",),
    "a SQLAlchemy session": (
        "sqlalchemy.orm.session.Session",
        "sqlalchemy.orm.session.sessionmaker",
        "sqlalchemy.orm.scoping.scoped_session",
        "sqlalchemy.ext.asyncio.session.AsyncSession",
        "sqlalchemy.ext.asyncio.session.async_sessionmaker",
    ),
    "a Redis client": (
        "redis.client.Redis",
        "redis.asyncio.client.Redis",
        "redis.cluster.RedisCluster",
        "redis.connection.ConnectionPool",
    ),
    "a connection pool": (
        "psycopg_pool.pool.ConnectionPool",
        "psycopg_pool.pool_async.AsyncConnectionPool",
        "psycopg2.pool.AbstractConnectionPool",
        "asyncpg.pool.Pool",
    ),
    "a database connection": (
        "asyncpg.connection.Connection",
        "duckdb.duckdb.DuckDBPyConnection",
        "_duckdb.DuckDBPyConnection",
    ),
    "a MongoDB client": (
        "pymongo.mongo_client.MongoClient",
        "pymongo.synchronous.mongo_client.MongoClient",
    ),
    "an AWS client": ("botocore.client.BaseClient", "boto3.resources.base.ServiceResource"),
    "an AWS session": ("boto3.session.Session", "botocore.session.Session"),
    "a gRPC channel": ("grpc.Channel",),
    "an SSH connection": ("paramiko.client.SSHClient", "paramiko.transport.Transport"),
    "an SMTP connection": ("smtplib.SMTP",),
    "an FTP connection": ("ftplib.FTP",),
    "a browser": ("selenium.webdriver.remote.webdriver.WebDriver",),
}
"""What holds connections, and its types."""

OPEN: dict[str, tuple[str, ...]] = {
    "an HDF5 object": ("h5py._hl.base.HLObject", "tables.file.File", "tables.node.Node"),
    "an HDF5 store": ("pandas.io.pytables.HDFStore",),
    "a netCDF dataset": ("netCDF4._netCDF4.Dataset", "netCDF4._netCDF4.Variable"),
    "a video": ("cv2.VideoCapture", "cv2.VideoWriter"),
    "a raster dataset": ("rasterio._io.DatasetReaderBase", "rasterio._base.DatasetBase"),
    "a Parquet file": ("pyarrow.parquet.core.ParquetFile", "pyarrow.parquet.core.ParquetWriter"),
}
"""What is an open file, or a part of one, and its types."""

_NAMES = frozenset(name for names in (*CONNECTED.values(), *OPEN.values()) for name in names)


def is_handle(cls: type) -> bool:
    """Whether objects of a type are handles of such a library."""
    return any(f"{base.__module__}.{base.__qualname__}" in _NAMES for base in cls.__mro__)
