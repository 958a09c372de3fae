"""Connecting to Ray: whose the connection is, what the cluster has, and whether it is there."""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import signal
import socket
import tempfile
import threading
from contextlib import contextmanager

from procession.backends.cluster.engine_connection import (
    CONNECT_SECONDS,
    GREET_SECONDS,
    EngineConnection,
    reach,
    remove_old_folders,
)
from procession.backends.cluster.ray_use import ray_use
from procession.errors import BackendUnavailable
from procession.hints import TYPE_CHECKING, Any
from procession.process.pool import at_exit
from procession.system.pristine import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from procession.configuration import Options

_FOLDER = "procession-ray-"
"""How the folders are called that local clusters write to; then comes the process."""

_ANSWER_SECONDS = 1.0
"""Seconds in which a process of Ray's takes a connection."""

_ASK_SECONDS = 2.0
"""Seconds to ask whether a machine with processors is there; a look must not take longer than Ray
may be silent."""

_FRAME, _SETTINGS = 9, b"\x04"
"""Bytes of the head of an HTTP/2 frame, whose fourth one is its type; the type of a first frame."""

_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + bytes(5)
"""How a client of HTTP/2, and so of gRPC, begins."""

_SHORT = 12
"""Bytes of a temporary folder's path that leave room for the rest of a socket's (107 in all)."""


class Connection(EngineConnection):
    """This program's connection to Ray; Ray has one for each process.

    Args:
        ray: The module.
        place: What the cluster is called in messages.
        owned: Whether Procession has connected, and not the user.
        folder: The folder of a local cluster that was started for it.
    """

    engine = "Ray"
    head = "head"
    anew = "Call ray.init() in the child, or use other processes than forked ones."

    def __init__(self, ray: Any, place: str, *, owned: bool, folder: str = "") -> None:
        super().__init__(place, owned=owned)
        self.ray = ray
        self.cpus = 0
        self._folder = folder
        self._forsaken = False
        context = ray.get_runtime_context()
        self._job = context.get_job_id()
        self._ports = [context.gcs_address, _own_node(ray, context.get_node_id())]
        self._witness = ""
        self.answers()

    @property
    def usable(self) -> bool:
        """Whether it is open."""
        with ray_use.shared():
            return not self._forsaken and bool(self.ray.is_initialized()) and self._same()

    @contextmanager
    def held(self) -> Generator[None]:
        """Meanwhile it is not let go.

        Raises:
            PoolClosed: It was before, or is lost.
        """
        with ray_use.shared():
            self.check()
            yield

    def _same(self) -> bool:
        return bool(self.ray.get_runtime_context().get_job_id() == self._job)

    def answers(self) -> bool:
        """Whether the head and Ray on this machine are there; learns what workers there are.

        This may last as long as Ray does not answer.
        """
        try:
            for address in self._ports:
                reach(address, patience=_ANSWER_SECONDS)
            cpus = int(self.ray.cluster_resources().get("CPU", 0))
            self.cpus = cpus if cpus and self._some_machine_answers() else 0
        except Exception:
            return False
        return True

    def _some_machine_answers(self) -> bool:
        """Whether a machine takes a connection that has processors for tasks.

        Ray counts those of a lost one as there for 15 s. The one that has answered last is asked
        first. If it takes long to ask all, Ray is to judge.
        """
        end = monotonic() + _ASK_SECONDS
        if self._witness and _takes_connection(self._witness):
            return True
        for node in self.ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                self._witness = _address(node)
                if _takes_connection(self._witness) or monotonic() > end:
                    return True
        return False

    def forsake(self) -> None:
        """The head is gone. Ray would end this program for that, so let go of it."""
        self._forsaken = True
        if self.owned:
            threading.Thread(target=self.close, name="procession-ray-end", daemon=True).start()

    def close(self) -> None:
        """Nothing uses it any more: let go of what is Procession's own."""
        if not self.owned or os.getpid() != self.process:
            return
        try:
            with ray_use.alone():
                if self.ray.is_initialized() and self._same():
                    self.ray.shutdown()
        finally:
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)


def _own_node(ray: Any, node: str) -> str:
    """The address of Ray's process on this machine."""
    return next((_address(each) for each in ray.nodes() if each["NodeID"] == node), "")


def _address(node: Any) -> str:
    return f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"


def _takes_connection(address: str) -> bool:
    try:
        reach(address, patience=0.0)
    except OSError:
        return False
    return True


def connect(options: Options) -> Connection:
    """Connect as the options say, or use what the program has connected to.

    Raises:
        BackendUnavailable: Ray is not installed, there is no cluster at the address, or it runs
            another version of Python or Ray.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise BackendUnavailable(
            "backend='ray' needs the package ray, which is not installed. Run: pip install "
            "'procession[ray]'"
        ) from error
    atexit.register(at_exit.at_exit)  # before Ray's own handler, which would cut off what runs
    address = options.address
    if address is not None and "://" in address:
        raise BackendUnavailable(
            f"address={address!r} is one of Ray Client, which can neither stream nor tell what has "
            "failed. Run the program on a machine of the cluster, for example by `ray job submit`, "
            "with address='auto' or 'host:6379'."
        )
    if ray.is_initialized():
        return _given(ray, address)
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None or address == "local":
        return _local(ray, options.workers)
    return _connected(ray, address)


def _given(ray: Any, address: str | None) -> Connection:
    """What the program has connected to itself."""
    there = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", there):
        raise BackendUnavailable(
            f"this program is connected to Ray at {there!r}, and to one cluster only, so "
            f"address={address!r} cannot be used. Leave address out, or call ray.shutdown() first "
            "(procession.shutdown() if it was Procession that has connected)."
        )
    return Connection(ray, there, owned=False)


def _connected(ray: Any, address: str) -> Connection:
    begin = monotonic()
    there = address
    try:
        there = _asked_by_ray(address)
        reach(there)
        _greet(there, max(GREET_SECONDS, CONNECT_SECONDS - (monotonic() - begin)))
        _check_token(there)
        _as_it_was(lambda: ray.init(address=address, **_QUIET))
    except (OSError, RuntimeError, ValueError) as error:
        if "ersion mismatch" in str(error):
            raise BackendUnavailable(f"backend='ray' cannot be used here: {error}") from error
        where = f"{address!r}" if there == address else f"{address!r} (Ray asks at {there!r})"
        raise BackendUnavailable(
            f"there is no Ray cluster at {where}, or this machine is not part of it: it did "
            f"not answer within {CONNECT_SECONDS} s ({type(error).__name__}: {error}). Give the "
            "address that `ray start --head` prints, such as address='host:6379', or leave address "
            "out for a cluster of this machine."
        ) from error
    return Connection(ray, address, owned=True)


def _asked_by_ray(address: str) -> str:
    """Where `ray.init` looks: at this machine's own address, if it is given a loopback one.

    It would look for minutes for a head that listens at the loopback address alone.

    Raises:
        ValueError: It is no address.
    """
    services: Any = importlib.import_module("ray._private.services")
    return str(services.canonicalize_bootstrap_address(address) or address)


def _greet(address: str, seconds: float) -> None:
    """See that a head answers. Ray itself would wait for minutes for what only listens.

    Raises:
        OSError: What listens there does not speak gRPC, in time.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return
    with socket.create_connection((host.strip("[]"), int(port)), seconds) as connection:
        connection.sendall(_HELLO)
        if connection.recv(_FRAME)[3:4] != _SETTINGS:
            raise ConnectionError("what listens there does not speak gRPC")


def _check_token(address: str) -> None:
    """See that the head lets this program in. Ray itself would try for 20 s.

    Raises:
        BackendUnavailable: It does not.
    """
    private: Any = importlib.import_module("ray._raylet")
    try:
        private.GcsClient(address)
    except Exception as error:
        if type(error).__name__ == "AuthenticationError":
            raise BackendUnavailable(
                f"the Ray cluster at {address!r} asks for a token, and this program has another "
                "one or none. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH "
                "unless it is in ~/.ray/auth_token."
            ) from error


def _local(ray: Any, workers: int) -> Connection:
    """A cluster of this machine, which ends with the program."""
    parent = tempfile.gettempdir()
    parent = parent if len(parent) <= _SHORT else "/tmp"
    remove_old_folders(_FOLDER, parent)
    folder = tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=parent)
    try:
        _as_it_was(
            lambda: ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                _temp_dir=folder,
                **_QUIET,
            )
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Connection(ray, "of this machine", owned=True, folder=folder)


_QUIET = {"configure_logging": False, "log_to_driver": True}
"""Ray says nothing of what it does; what items print comes home, as on Ray."""


def _as_it_was(connects: Callable[[], object]) -> None:
    """Connect, and have SIGTERM mean what it meant before; Ray would put a handler there."""
    if threading.current_thread() is not threading.main_thread():
        connects()
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        connects()
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
