import sys
from fcntl import *
from typing import Any

if sys.platform == "win32":
    F_GETFL: int
    F_GETLK: int
    F_SETFL: int
    F_SETOWN: int
    F_UNLCK: int
    F_WRLCK: int
    LOCK_EX: int
    LOCK_NB: int
    LOCK_SH: int
    LOCK_UN: int

    def fcntl(fd: int, cmd: int, arg: Any = 0, /) -> Any: ...
    def flock(fd: int, operation: int, /) -> None: ...
    def lockf(fd: int, cmd: int, len: int = 0, start: int = 0, whence: int = 0, /) -> None: ...

if sys.platform != "linux":
    F_SETSIG: int
