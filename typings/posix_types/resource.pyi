import sys
from resource import *

if sys.platform == "win32":
    RLIMIT_NOFILE: int
    RLIMIT_NPROC: int
    RLIMIT_STACK: int
    RLIM_INFINITY: int

    def getpagesize() -> int: ...
    def getrlimit(resource: int, /) -> tuple[int, int]: ...
    def setrlimit(resource: int, limits: tuple[int, int], /) -> None: ...
