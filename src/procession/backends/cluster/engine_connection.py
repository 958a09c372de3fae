"""What a connection to any engine knows: whose it is, whether it was lost, and what to say then."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from weakref import WeakSet

from procession.errors import BackendUnavailable, PoolClosed
from procession.hints import Any
from procession.system import after_fork
from procession.system.lifeline import runs
from procession.system.pristine import monotonic

CONNECT_SECONDS = 7
"""Seconds until an address where nothing answers counts as one without a cluster."""

GREET_SECONDS = 2.0
"""Seconds that what listens at an address has at least to answer as the engine does."""

_LEAST_SECONDS = 0.3
"""Seconds that one attempt to connect has at least."""

_ENDING_SECONDS = 2.0
"""Seconds that calls have to end after their connection was lost. A guess."""


class EngineConnection:
    """A connection to an engine; what differs is in its subclasses.

    Args:
        place: What the cluster is called in messages.
        owned: Whether the connection is Procession's own.
    """

    engine = ""
    """What the engine is called."""
    head = ""
    """What the engine calls the process that all others know."""
    anew = ""
    """What to do in a forked child."""

    def __init__(self, place: str, *, owned: bool) -> None:
        self.place = place
        self.owned = owned
        self.process = os.getpid()
        self._lost_at = 0.0
        self._told: WeakSet[Any] = WeakSet()

    @property
    def usable(self) -> bool:
        """Whether it is open."""
        raise NotImplementedError

    def sent_away(self) -> bool:
        """Whether the cluster itself has ended its last worker, as it starts others when needed."""
        return False

    def check_anew(self, listener: Any) -> None:
        """Refuse to connect anew while the calls end whose connection was lost a moment ago.

        Args:
            listener: Who sends.

        Raises:
            PoolClosed: They do, or this is one of them.
        """
        if monotonic() - self._lost_at < _ENDING_SECONDS or self.has_told(listener):
            self.check()

    def tell(self, listeners: Iterable[Any]) -> None:
        """These are told now that nothing more comes. Some go on sending after an error."""
        self._told.update(listeners)

    def has_told(self, listener: Any) -> bool:
        """Whether it was told so."""
        return listener in self._told

    def check(self) -> None:
        """Refuse work that would not be done.

        Raises:
            PoolClosed: It would not.
        """
        if os.getpid() != self.process:
            raise PoolClosed(
                f"the connection to {self.engine} ({self.place}) was made before this process "
                f"({os.getpid()}) was forked, and stayed in the parent. {self.anew}"
            )
        if not self.usable:
            raise self.lost()

    def lost(self) -> PoolClosed:
        """The error for what cannot be done any more."""
        now = monotonic()
        if now - self._lost_at >= _ENDING_SECONDS:  # who is refused meanwhile starts no new count
            self._lost_at = now
        return PoolClosed(
            f"the connection to {self.engine}'s {self.head} ({self.place}) was lost or closed "
            f"while calls ran there. Look whether the {self.head} runs, and call again."
        )


def missing_procession(engine: str, place: str, error: ModuleNotFoundError) -> BackendUnavailable:
    """The error for workers on which Procession is not installed."""
    missing = BackendUnavailable(
        f"Procession cannot be imported on a worker of the {engine} cluster ({place}): {error}. "
        "Install the same version there: pip install procession"
    )
    missing.__cause__ = error
    return missing


def reach(address: str, *, patience: float = CONNECT_SECONDS) -> None:
    """Return when something listens at the address, or if only the engine knows what that is.

    Args:
        address: Host and port, perhaps after a protocol.
        patience: Seconds to try.

    Raises:
        OSError: Nothing does, until the time is over.
    """
    kind, _, rest = address.rpartition("://")
    host, _, port = rest.rpartition(":")
    if kind not in ("tcp", "tls", "") or not port.isdigit():
        return
    end = monotonic() + patience
    while True:
        try:
            _connect(host.strip("[]"), int(port), max(_LEAST_SECONDS, end - monotonic()))
            return
        except OSError:
            if monotonic() > end:
                raise
            time.sleep(0.2)


def _connect(host: str, port: int, seconds: float) -> None:
    """See that something listens there; a host's several addresses are tried in turn."""
    addresses = len(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    socket.create_connection((host, port), seconds / addresses).close()


def remove_old_folders(prefix: str, parent: str = "") -> None:
    """Remove what local clusters of programs have left that were killed.

    Args:
        prefix: How the folders are called; then come the process and a hyphen.
        parent: Where they are.
    """
    import shutil

    parent = parent or tempfile.gettempdir()
    for name in os.listdir(parent):
        pid = name.removeprefix(prefix).partition("-")[0]
        if name.startswith(prefix) and pid.isdigit() and not runs(int(pid)):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)


class OpenClusters:
    """The clusters of one engine that this process is connected to, each with its users."""

    def __init__(self) -> None:
        self._lock = after_fork.rlock()
        self._open: dict[Any, Any] = {}
        self._users: dict[int, int] = {}
        after_fork.renew_in_child(self._renew)

    def _renew(self) -> None:
        self._open.clear()
        self._users.clear()

    def use(self, key: Any, connect: Callable[[], Any]) -> Any:
        """A cluster that is open under this key, or else a new one; with one more user."""
        with self._lock:
            cluster = self._open.get(key)
            if cluster is None or not cluster.connection.usable:
                cluster = self._open[key] = connect()
            self._users[id(cluster)] = self._users.get(id(cluster), 0) + 1
            return cluster

    def get(self, key: Any) -> Any:
        """The cluster that is open under this key, or `None`."""
        return self._open.get(key)

    def leave(self, cluster: Any) -> bool:
        """One user fewer. Whether that was the last one: then it is not handed out any more."""
        with self._lock:
            self._users[id(cluster)] = left = self._users.get(id(cluster), 1) - 1
            if left:
                return False
            del self._users[id(cluster)]
            for key, each in list(self._open.items()):
                if each is cluster:
                    del self._open[key]
            return True
