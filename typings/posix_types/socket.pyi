import socket as _socket
import sys
from collections.abc import Iterable
from typing import Any

if sys.platform != "win32":
    from socket import *
else:
    from socket import MSG_CTRUNC as MSG_CTRUNC
    from socket import SHUT_RDWR as SHUT_RDWR
    from socket import SOCK_SEQPACKET as SOCK_SEQPACKET
    from socket import SOCK_STREAM as SOCK_STREAM
    from socket import SOL_SOCKET as SOL_SOCKET

    AF_UNIX: int
    SCM_RIGHTS: int

    class socket(_socket.socket):
        def recvmsg(
            self, bufsize: int, ancbufsize: int = ..., flags: int = ..., /
        ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]: ...
        def sendmsg(
            self,
            buffers: Iterable[Any],
            ancdata: Iterable[tuple[int, int, Any]] = ...,
            flags: int = ...,
            address: Any = ...,
            /,
        ) -> int: ...

    def CMSG_SPACE(length: int, /) -> int: ...
    def send_fds(
        sock: _socket.socket, buffers: Any, fds: Any, flags: int = 0, address: Any = None
    ) -> int: ...
    def socketpair() -> tuple[socket, socket]: ...

if sys.platform != "linux":
    SOCK_CLOEXEC: int
    SO_PEERCRED: int
