"""Connecting to Dask: whose the client is, what its cluster runs, and whether it is still there."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from procession.backends.cluster.engine_connection import (
    CONNECT_SECONDS,
    GREET_SECONDS,
    EngineConnection,
    remove_old_folders,
)
from procession.backends.cluster.far_pools import far_pools
from procession.backends.cluster.wire import VERSIONS, mismatch
from procession.configuration.compatibility import dask_client
from procession.errors import BackendUnavailable
from procession.hints import TYPE_CHECKING, Any
from procession.process.pool import at_exit

if TYPE_CHECKING:
    from procession.configuration import Options

_FOLDER = "procession-dask-"
"""How the folders are called that local clusters write to; then comes the process."""

_ENDING_SECONDS = 2.0
"""Seconds that a local cluster's cancelled tasks have to end. A guess."""

_ASK_SECONDS = 2.5
"""Seconds for the workers to say which versions they run; those who do not, are asked again by the
first task that they run."""


class Connection(EngineConnection):
    """A client of Dask's.

    Args:
        client: The client.
        place: What the cluster is called in messages.
        owned: Whether the client is Procession's own.
        cluster: The local cluster that was started for it, if there is one.
        folder: The folder that this one writes to.
    """

    engine = "Dask"
    head = "scheduler"
    anew = "Make a new Client here."

    def __init__(
        self, client: Any, place: str, *, owned: bool, cluster: Any = None, folder: str = ""
    ) -> None:
        super().__init__(place, owned=owned)
        self.client = client
        self._cluster = cluster
        if cluster is not None:
            far_pools.begin()
        self._folder = folder
        self._threads = 0
        self._before: Any = None

    @property
    def usable(self) -> bool:
        """Whether it is open."""
        return bool(self.client.status == "running")

    def threads(self) -> int:
        """How many tasks the cluster's workers can run at once; Dask tells it every two seconds."""
        known = self._known()
        if known and "total_threads" in known:
            self._threads = int(known["total_threads"])
        return self._threads

    def _known(self) -> Any:
        return getattr(self.client, "_scheduler_identity", None)

    def ages(self) -> None:
        """What Dask has told by now is of before the next calls."""
        self._before = self._known()

    def threads_now(self) -> int | None:
        """The same, if Dask has told it since `ages`."""
        return None if self._known() is self._before else self.threads()

    def sent_away(self) -> bool:
        """Whether the worker that left last was retired, as an adaptive cluster does it."""
        ask = partial(self.client.scheduler.events, topic="all")
        try:
            events: Any = self.client.sync(ask, callback_timeout=_ASK_SECONDS)
        except Exception:  # it does not answer: who asks finds out soon
            return False
        left = [said for _, said in events if said.get("action") == "remove-worker"]
        return bool(left) and bool(left[-1].get("expected"))

    def cancel(self, futures: Sequence[Any]) -> None:
        """Have the scheduler end what runs for these, if it can be told."""
        if futures and self.usable:
            cancel = partial(self.client.cancel, futures, asynchronous=True)
            self.client.loop.add_callback(cancel)

    def check_versions(self) -> None:
        """Compare versions with the cluster, before anything is sent that could harm its workers.

        Raises:
            BackendUnavailable: They differ.
        """
        try:
            found = self.client.sync(_versions, self.client, callback_timeout=_ASK_SECONDS)
        except Exception:  # a worker does not answer: its first task says what is wrong
            return
        for address, told in found.items():
            python = ".".join(str(told["host"]["python"]).split(".")[:2])
            procession = told["packages"].get("procession") or VERSIONS[1]
            problem = mismatch(VERSIONS, (python, procession), f"the Dask worker at {address}")
            if problem:
                raise BackendUnavailable(f"backend='dask' cannot be used here: {problem}")

    def close(self, topic: str) -> None:
        """Nothing uses it any more: let go of what is Procession's own."""
        try:
            if not self.owned:
                if self.usable:
                    self.client.unsubscribe_topic(topic)
                return
            if self._cluster is not None:
                self._wait_for_tasks()  # that were cancelled a moment ago: else Dask complains
            with _no_news_of_closing():
                self.client.close()
                if self._cluster is not None:
                    self._cluster.close()
        finally:
            if self._cluster is not None:
                far_pools.close()
                shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_for_tasks(self) -> None:
        """Return when the local cluster's worker runs nothing, or after a while."""
        states = [worker.state for worker in self._cluster.workers.values()]
        end = time.monotonic() + _ENDING_SECONDS
        while any(each.executing or each.ready for each in states) and time.monotonic() < end:
            time.sleep(0.005)


@contextmanager
def _no_news_of_closing() -> Generator[None]:
    """Dask would tell that its client closed while it still sent, and that tasks were cancelled."""
    least = {
        "distributed.batched": logging.WARNING,
        "distributed.scheduler": logging.CRITICAL + 1,  # what it sends on to a closed client
        "distributed.worker.state_machine": logging.ERROR,
    }
    loggers = [logging.getLogger(name) for name in least]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(max(each.level, least[each.name]))
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


async def _versions(client: Any) -> Any:
    """What each worker runs; from those that answer."""
    ask = {"op": "versions", "packages": ["procession"]}
    return await client.scheduler.broadcast(msg=ask, on_error="ignore")


def connect(options: Options) -> Connection:
    """Connect as the options say; what the cluster runs is compared at once.

    Raises:
        BackendUnavailable: Dask is not installed, there is no cluster at the address, or it runs
            other versions of Python or Procession.
    """
    given = dask_client(options.backend)
    if given is not None:
        if getattr(given, "asynchronous", False):
            raise BackendUnavailable(
                "backend= was given an asynchronous distributed.Client, whose answers only its own "
                "event loop can wait for. Make one with Client(address), without asynchronous=True."
            )
        connection = Connection(given, str(_address(given)), owned=False)
        connection.check()
    else:
        connection = _connected(options)
    try:
        connection.check_versions()
    except BackendUnavailable:
        connection.close("")
        raise
    return connection


def _connected(options: Options) -> Connection:
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise BackendUnavailable(
            "backend='dask' needs the package distributed, which is not installed. Run: pip "
            "install 'procession[dask]'"
        ) from error
    atexit.register(at_exit.at_exit)  # before Dask's own handlers, which would cut off what runs
    settings: Any = importlib.import_module("dask").config
    address = options.address or settings.get("scheduler-address", None)
    if address is None:
        return _local(distributed, options.workers)
    begin = time.monotonic()
    try:
        with ThreadPoolExecutor(1) as executor:  # this thread may have a running event loop
            executor.submit(asyncio.run, _greet(distributed, address)).result()
        left = max(GREET_SECONDS, CONNECT_SECONDS - (time.monotonic() - begin))
        client = distributed.Client(address, timeout=left, set_as_default=False, name="procession")
    except (OSError, TimeoutError, ValueError) as error:
        raise BackendUnavailable(
            f"there is no Dask scheduler at {address!r} that answers this program "
            f"({type(error).__name__}: {error}; after {time.monotonic() - begin:.0f} s). Give the "
            "address that `dask scheduler` prints, such as address='tcp://host:8786' (or tls://), "
            "or leave address out for a cluster of this machine."
        ) from error
    return Connection(client, address, owned=True)


async def _greet(distributed: Any, address: str) -> None:
    """See that a scheduler answers. Dask's client would wait for ever for what only listens.

    Raises:
        OSError, TimeoutError: None does.
        ValueError: This is no address.
        BackendUnavailable: It is encrypted, and there are no certificates here.
    """
    core: Any = importlib.import_module("distributed.comm.core")
    security = distributed.Security().get_connection_args("client")
    if address.startswith("tls://") and security["ssl_context"] is None:
        raise BackendUnavailable(
            f"address={address!r} is encrypted, and this program has no certificates for it. Name "
            "them in Dask's configuration (distributed.comm.tls), or make a distributed.Client "
            "with security= and give that as backend=."
        )
    greeting = core.connect(address, timeout=CONNECT_SECONDS, **security)
    comm = await asyncio.wait_for(greeting, CONNECT_SECONDS)
    comm.abort()


def _local(distributed: Any, workers: int) -> Connection:
    """A cluster in threads of this process, whose tasks run in Procession's own workers."""
    remove_old_folders(_FOLDER)
    folder = tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-")
    settings: Any = importlib.import_module("dask").config
    with settings.set({"temporary-directory": folder}):
        cluster = distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=workers,
            processes=False,
            dashboard_address=":0",
            memory_limit=0,
            local_directory=folder,
        )
        client = distributed.Client(cluster, set_as_default=False, name="procession")
    return Connection(client, "in this process", owned=True, cluster=cluster, folder=folder)


def _address(client: Any) -> Any:
    return getattr(getattr(client, "scheduler", None), "address", "unknown")
