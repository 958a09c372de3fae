import sys
from collections.abc import Iterable
from signal import *
from signal import Signals as Signals

if sys.platform == "win32":
    ITIMER_REAL: int
    SIGALRM: Signals
    SIGCHLD: Signals
    SIGHUP: Signals
    SIGKILL: Signals
    SIGPIPE: Signals
    SIGTTIN: Signals
    SIGTTOU: Signals
    SIGUSR2: Signals
    SIG_BLOCK: int
    SIG_SETMASK: int

    def pthread_sigmask(how: int, mask: Iterable[int]) -> set[int | Signals]: ...
    def setitimer(which: int, seconds: float, interval: float = 0.0, /) -> tuple[float, float]: ...
    def sigpending() -> set[int | Signals]: ...
    def sigwait(sigset: Iterable[int]) -> int: ...

if sys.platform != "linux":
    def pidfd_send_signal(
        pidfd: int, sig: int, siginfo: None = None, flags: int = 0, /
    ) -> None: ...
