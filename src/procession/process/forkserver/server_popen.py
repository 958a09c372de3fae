"""The ``Popen`` of processes that our fork server starts."""

from __future__ import annotations

import io
import os
from multiprocessing import popen_fork, util
from multiprocessing.context import set_spawning_popen
from multiprocessing.reduction import dump
from typing import TYPE_CHECKING, Any

from procession.process.io.handover import Inherited, read_number
from procession.system import owned_descriptors
from procession.system.pristine import select

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from procession.process.forkserver.client import Server

__all__ = ["ServerPopen"]


class ServerPopen(popen_fork.Popen):
    """A process started by a request to a server; `of` makes the class for one server."""

    method = "forkserver"
    DupFd = Inherited
    server: Server
    data: Any

    @classmethod
    def of(cls, server: Server, data: Any) -> type[ServerPopen]:
        """The class for this server; `data` gives what a process is told of this one."""
        return type("Popen", (cls,), {"server": server, "data": data})

    def __init__(self, process_obj: BaseProcess) -> None:
        self._fds: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Have a descriptor sent along; gives its place among those."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj: BaseProcess) -> None:
        packed = io.BytesIO()
        spawning: Any = self
        set_spawning_popen(spawning)
        try:
            dump(self.data.get_preparation_data(process_obj.name), packed)
            dump(process_obj, packed)
        finally:
            set_spawning_popen(None)
        self.sentinel, data = self.server.request(self._fds)
        with open(data, "wb") as pipe:
            try:
                # It stays open on this side: by that the process knows that its parent lives.
                alive = os.dup(data)
            except BaseException:
                os.close(self.sentinel)
                raise
            owned_descriptors.own(alive, self.sentinel)
            self.finalizer = util.Finalize(self, owned_descriptors.close, (alive, self.sentinel))
            pipe.write(packed.getbuffer())
        pid = read_number(self.sentinel)
        if pid < 0:
            raise OSError(-pid, f"the fork server could start no process: {os.strerror(-pid)}")
        self.pid = pid

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, if it has ended, or (without WNOHANG) when it has."""
        if self.returncode is None:
            ready = select.poll()
            ready.register(self.sentinel, select.POLLIN)
            if not ready.poll(0 if flag == os.WNOHANG else None):
                return None
            try:
                self.returncode = read_number(self.sentinel)
            except (OSError, EOFError):
                self.returncode = 255  # the server was killed
        return self.returncode
