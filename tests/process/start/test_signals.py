"""Workers neither block nor ignore what their caller does, and have no terminal to wait for."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import ROOT

EVERYWHERE = ("fork", "spawn", "forkserver", "loky")


def program(folder: Path, text: str, **given: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of its own, whose signals are nobody else's."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=60,
        **given,
    )


DEATHS = """
    import os, signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM})
    from procession import isolated, parallel

    def f(x):
        if x == 1:
            os._exit(7)
        return x

    def masked(x):
        return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    given = dict(CONTEXT)
    g = parallel(inline=False, workers=1, **given)(f)
    for each in (g.submit, g.submit, isolated(**given)(f).submit):
        for x in (0, 1):
            try:
                print(each(x).result(30), end=" ")
            except Exception as error:
                print(type(error).__name__, end=" ")
    print(g.with_options().map([0]), parallel(inline=False, **given)(masked).map([0]))
"""


@pytest.mark.parametrize(
    "context", [*({"context": c} for c in EVERYWHERE), {"backend": "loky"}, {"backend": "stdlib"}]
)
def test_blocked_signals(tmp_path: Path, context: dict[str, str]) -> None:
    """A caller that blocks SIGCHLD and others still learns of deaths; its workers block nothing."""
    done = program(tmp_path, DEATHS.replace("CONTEXT", repr(context)))
    assert done.stdout == "0 WorkerDied " * 3 + "[0] [[]]\n", done.stderr


IGNORED = """
    import os, signal, subprocess, sys
    for number in (signal.SIGCHLD, signal.SIGALRM, signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if "stdlib" not in CONTEXT.values():  # whose own pipes would end the caller
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    from procession import parallel

    def f(x):
        names = [n.name for n in signal.valid_signals()
                 if isinstance(n, signal.Signals) and signal.getsignal(n) is signal.SIG_IGN]
        return subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode, names

    def die(x):
        os._exit(7)

    g = parallel(inline=False, workers=1, **CONTEXT)
    print(g(f).map([0]))
    print([type(o.error).__name__ for o in g(die).outcomes([0, 1])])
"""


@pytest.mark.parametrize(
    "context", [*({"context": c} for c in EVERYWHERE), {"backend": "loky"}, {"backend": "stdlib"}]
)
def test_ignored_signals(tmp_path: Path, context: dict[str, str]) -> None:
    """What only the caller ignores is not ignored in workers: they see how their children end."""
    done = program(tmp_path, IGNORED.replace("CONTEXT", repr(context)))
    first, second = done.stdout.splitlines() or ("", done.stderr)
    assert first == "[(3, ['SIGINT', 'SIGPIPE', 'SIGXFSZ'])]", done.stderr
    assert second == "['WorkerDied', 'WorkerDied']", done.stderr


BROKEN_PIPES = """
    import os, signal
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    from procession import parallel
    from procession.process.start import fork_server as server

    @parallel(inline=False, workers=1)
    def f(x):
        return os.getpid()

    for _ in range(5):
        os.kill(f.submit(1).result(), signal.SIGKILL)
        try:
            f.submit(bytes(1_000_000)).result(30)
        except Exception as error:
            assert type(error).__name__ == "WorkerDied"
    f.submit(1).result(30)
    os.kill(server.current(clean=False).pid, signal.SIGKILL)
    f.submit(1).result(30)
    print(f.with_options(threads_per_worker=2).submit(1).result(30) > 0)
"""


def test_broken_pipes_of_ours_end_nobody(tmp_path: Path) -> None:
    """A program that lets SIGPIPE end it outlives its workers, and its fork server."""
    done = program(tmp_path, BROKEN_PIPES)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal of its own: both ends."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


TERMINAL = """
    import fcntl, getpass, os, sys, termios, warnings
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.close(os.open("/dev/tty", os.O_RDWR))  # the caller has one
    from procession import isolated, parallel

    def ask(x):
        warnings.simplefilter("ignore")
        try:
            return getpass.getpass()
        except EOFError:
            return "nobody there"

    def look(x):
        try:
            return os.open("/dev/tty", os.O_RDWR)
        except OSError as error:
            return os.strerror(error.errno)

    given = dict(context=CONTEXT)
    sys.stderr = open(os.devnull, "w")
    for f in (ask, look):
        print(parallel(inline=False, workers=1, **given)(f).map([0]), isolated(**given)(f)(0))
"""


@pytest.mark.parametrize("context", EVERYWHERE)
def test_no_terminal(tmp_path: Path, terminal: tuple[int, int], context: str) -> None:
    """A worker that asks at the terminal is told that it has none, and is not stopped for ever."""
    done = program(tmp_path, TERMINAL.replace("CONTEXT", repr(context)), stdin=terminal[1])
    expected = "['nobody there'] nobody there\n['{0}'] {0}\n"
    assert done.stdout == expected.format("No such device or address"), done.stderr
