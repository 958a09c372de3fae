"""A process that has imported pytest, and forks one for each run: that takes a third of the time.

What a run needs beyond pytest's own modules it imports itself, as always.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SERVER = """
import gc, json, os, runpy, socket, sys
import _pytest.config
for name in _pytest.config.default_plugins:
    __import__(f"_pytest.{name}")
gc.freeze()

def become(folder, arguments, environment):
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv[1:] = arguments
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)

def serve(asked):
    while True:
        data, descriptors, *_ = socket.recv_fds(asked, 10**6, 3)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            asked.close()
            os.dup2(descriptors[0], 1)
            os.dup2(descriptors[1], 2)
            for descriptor in descriptors:
                os.close(descriptor)
            return become(*json.loads(data))
        out, err, told = descriptors
        os.close(out)
        os.close(err)
        os.write(told, b"%d\\n" % pid)
        os.write(told, b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(told)

serve(socket.socket(fileno=int(sys.argv.pop())))
"""


class WarmPytest:
    """The process; it ends when it is closed.

    Args:
        environment: What it imports with.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )

    def start(self, folder: Path, arguments: Sequence[str], environment: dict[str, str]) -> WarmRun:
        """Start pytest in a folder."""
        pipes = [os.pipe() for _ in range(3)]
        request = json.dumps([str(folder), arguments, environment]).encode()
        socket.send_fds(self._socket, [request], [theirs for _, theirs in pipes])
        for _, theirs in pipes:
            os.close(theirs)
        return WarmRun(*[ours for ours, _ in pipes])

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()


class WarmRun:
    """What a `subprocess.Popen` is of a process that was executed.

    Attributes:
        pid: The process id.
        returncode: The exit code, after `communicate`.
    """

    returncode: int

    def __init__(self, out: int, err: int, told: int) -> None:
        self._read: dict[int, bytes] = {out: b"", err: b""}
        self._open = {out, err}
        self._told = open(told)  # noqa: SIM115
        self.pid = int(self._told.readline())

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read its output and its errors to their ends, and wait for its own."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            for pipe in self._open:
                selector.register(pipe, selectors.EVENT_READ)
            while self._open:
                ready = selector.select(None if deadline is None else deadline - time.monotonic())
                if not ready:
                    raise TimeoutError(f"{self.pid} still runs after {timeout} s")
                for key, _ in ready:
                    data = os.read(key.fd, 65536)
                    self._read[key.fd] += data
                    if not data:
                        selector.unregister(key.fd)
                        os.close(key.fd)
                        self._open.discard(key.fd)
        with self._told:
            self.returncode = int(self._told.readline())
        out, err = self._read.values()
        return out.decode(), err.decode()

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)
