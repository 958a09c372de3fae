"""Errors of items say what to do about them where the error alone does not."""

from __future__ import annotations

import errno
import functools
import os
import resource
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from procession import TaskExited, WorkerDied, isolated, parallel, shared
from procession.system.limits import mend


def add(one: int, two: int) -> int:
    """Two arguments."""
    return one + two


def leave(code: int) -> None:
    """Try to end the program."""
    sys.exit(code)


def debug(number: int) -> int:
    """Stop in a debugger."""
    breakpoint()
    return number


def ask(number: int) -> str:
    """Read from the terminal."""
    return input()


def fail(number: int, *, word: str = "") -> None:
    """Raise."""
    raise ValueError(number)


def same(value: Any) -> Any:
    """Give back what was given."""
    return value


def close_all(number: int) -> int:
    """Close what is not its own."""
    os.closerange(3, 4096)
    return number


def exhaust() -> None:
    """Run out of memory."""
    raise MemoryError("no room")


class Arriving:
    """Runs out of memory where it is unpickled."""

    def __reduce__(self) -> Any:
        return exhaust, ()


class Leaving:
    """Runs out of memory while it is pickled."""

    def __reduce__(self) -> Any:
        raise MemoryError("no room")


def arriving(number: int) -> Arriving:
    """A result for which there is no room here."""
    return Arriving()


def leaving(number: int) -> Leaving:
    """A result that cannot be pickled for want of room."""
    return Leaving()


def here(function: Any, **options: Any) -> Any:
    """The function, decorated, without what type checkers would say of these calls."""
    return parallel(function, **options)


def notes(call: Callable[[], Any]) -> str:
    """The notes of what a call raises."""
    with pytest.raises(Exception) as caught:
        call()
    return "\n".join(getattr(caught.value, "__notes__", ()))


EVERYWHERE = [{"inline": True}, {"inline": False}, {"backend": "thread"}, {"backend": "stdlib"}]


@pytest.mark.parametrize("options", EVERYWHERE, ids=str)
def test_tuples_given_to_map(options: Any) -> None:
    """A function of two arguments that is mapped over pairs is told of starmap."""
    work: Any = parallel(add, workers=1, **options)

    assert "write add.starmap(items)" in notes(lambda: work.map([(1, 2)]))
    assert "write add.starmap(items)" in notes(lambda: list(work.imap([[1, 2]])))
    assert "write add.map(items)" in notes(lambda: work.starmap([1]))
    # Nothing is said where starmap would not help, or is what was called.
    assert "starmap" not in notes(lambda: work.map([1]))
    assert "starmap" not in notes(lambda: work.starmap([(1,)]))
    assert "starmap" not in notes(lambda: work.map([(1, 2, 3)]))


@pytest.mark.parametrize("options", EVERYWHERE[:3], ids=str)
def test_a_worker_is_named_only_where_there_is_one(options: Any) -> None:
    """`TaskExited` says "in a worker" of an item that ran in one, and not of one that ran here."""
    with pytest.raises(TaskExited) as caught:
        parallel(leave, workers=1, **options).map([3])

    assert ("in a worker" in str(caught.value)) == (options == {"inline": False})
    assert caught.value.code == 3


def test_debuggers_and_input() -> None:
    """A breakpoint, and `input()`, in a worker: the note says how to have a terminal."""
    for work in (debug, ask):
        told = notes(partial(here(work, inline=False, workers=1).map, [1]))
        assert "PROCESSION_BACKEND=serial" in told
    assert "PROCESSION_BACKEND=serial" in notes(lambda: isolated(debug)(1))


def test_a_single_call_is_shown_as_it_is_written() -> None:
    """The note of a single call is the call in Python's own syntax, cut to a line."""
    work: Any = parallel(fail, workers=1)

    assert notes(lambda: work.submit(1).result()) == "fail(1) was running"
    assert notes(lambda: work.submit(1, word="a").result()) == "fail(1, word='a') was running"
    long = notes(lambda: work.submit(list(range(99)), word="a" * 99).result())
    assert long.startswith("fail([0, 1, 2")
    assert len(long) < 120
    assert notes(lambda: work.map([1])) == "fail() was running item 0: 1"


def refuse() -> None:
    """An initializer that fails."""
    raise LookupError("not ready")


def map_inside(number: int) -> list[int]:
    """Make a map whose initializer fails."""
    return parallel(same, initializer=refuse, backend="thread").map([number])


def test_what_could_not_run() -> None:
    """What kept a function from being called does not say that it was running."""
    for backend in ("serial", "thread", "process", "loky"):
        work: Any = here(fail, workers=1, backend=backend, initializer=refuse)
        assert notes(partial(work.map, [1])).endswith("\nfail() could not run item 0: 1")
        assert "function or the arguments" not in notes(partial(work.map, [1]))
    assert notes(lambda: work.submit(1).result()).endswith("\nfail(1) could not run")
    told = notes(lambda: parallel(same, inline=False).map([threading.Lock()]))
    assert told.startswith("same() could not run item 0: <unlocked _thread.lock")
    told = notes(lambda: here(map_inside, inline=False).map([1]))
    assert told.endswith("\nsame() could not run item 0: 1\nmap_inside() was running item 0: 1")


class Compiled:
    """A callable that has the code of a function, and no globals: as what numba compiles."""

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self.__code__ = function.__code__
        self.call = function

    def __call__(self, number: int) -> Any:
        """Call it."""
        return self.call(number)

    def __reduce__(self) -> str:
        return "compiled"


compiled = Compiled(fail)


def test_an_error_of_what_is_compiled() -> None:
    """It is decorated as functions are, and its error arrives as itself."""
    with pytest.raises(ValueError, match=r"^1\b"):
        here(compiled, inline=False).map([1])


POOL = """
import multiprocessing
from procession import isolated
def double(number): return 2 * number
@isolated
def pool():
    with multiprocessing.Pool(1) as pool: return pool.map(double, [1])
if __name__ == "__main__":
    try: pool()
    except Exception as error: print(*error.__notes__)
"""


def test_a_pool_inside_of_an_item() -> None:
    """It looks for a script's functions in vain: the note says why."""
    done = subprocess.run([sys.executable, "-c", POOL], capture_output=True, text=True, check=True)
    assert "has no script to find it in" in done.stdout


@pytest.mark.parametrize(
    "call",
    [
        lambda: parallel(same, inline=False).map([Arriving()]),
        lambda: parallel(same, inline=False).map([Leaving()]),
        lambda: here(add, inline=False).map([1], Arriving()),
        lambda: here(add, inline=False).map([1], Leaving()),
        lambda: parallel(same).submit(Arriving()).result(),
        lambda: parallel(same).submit(Leaving()).result(),
        lambda: parallel(arriving, inline=False).map([1]),
        lambda: isolated(leaving)(1),
        lambda: shared.put(Leaving()),
        lambda: parallel(same, inline=False, backend="stdlib").map([Arriving()]),
    ],
)
def test_want_of_memory_is_told_as_itself(call: Callable[[], Any]) -> None:
    """A MemoryError while something is pickled or unpickled is no fault of the object's."""
    with pytest.raises(MemoryError, match="no room") as caught:
        call()

    assert caught.type is MemoryError
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_a_worker_that_closes_its_channel(context: str) -> None:
    """It is told what it did, not that somebody killed it."""
    for call in (
        lambda: here(close_all, inline=False, workers=1, context=context).map([1]),
        lambda: isolated(close_all, context=context)(1),
        lambda: here(close_all, workers=1, context=context).submit(1).result(),
    ):
        with pytest.raises(WorkerDied) as caught:
            call()
        assert "closed its connection to this process" in str(caught.value)
        assert "os.closerange" in str(caught.value)
        assert "killed from outside" not in str(caught.value)


def test_what_the_system_refuses_has_a_mend() -> None:
    """Each limit's error says which limit it is, what it is now, and how it is raised."""
    files = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    told = mend(OSError(errno.EMFILE, "Too many open files"))
    assert "RLIMIT_NOFILE" in told
    assert files in told
    assert "fs.file-max" in mend(OSError(errno.ENFILE, ""))
    assert "df -h" in mend(OSError(errno.ENOSPC, "", "/data/file"))
    assert "/data/file" in mend(OSError(errno.ENOSPC, "", "/data/file"))
    assert "/dev/shm" in mend(OSError(errno.ENOSPC, ""))
    assert "RLIMIT_FSIZE" in mend(OSError(errno.EFBIG, ""))
    assert "quota" in mend(OSError(errno.EDQUOT, ""))
    assert "RLIMIT_NPROC" in mend(OSError(errno.EAGAIN, ""), starting=True)
    assert "RLIMIT_NPROC" in mend(RuntimeError("can't start new thread"), starting=True)
    assert mend(OSError(errno.EAGAIN, "")) == ""  # the user's own non-blocking file
    assert mend(OSError(errno.ENOENT, "")) == ""
    assert mend(ValueError()) == ""


def run(code: str, *arguments: str, **env: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_loky_in_a_folder_that_was_removed(tmp_path: Path) -> None:
    """Its interpreters cannot be started there, and the note says so; with other ways they can."""
    printed = run(
        """
        import multiprocessing.context, os, sys
        from operator import neg
        from procession import parallel

        gone = os.path.join(sys.argv[1], "gone")
        os.mkdir(gone)
        os.chdir(gone)
        os.rmdir(gone)
        others = ({"context": "spawn"}, {"backend": "stdlib"})
        # 3.13.0 imports no socket where "" is on its path, and no folder.
        for options in others if sys.version_info < (3, 13) else ():
            assert parallel(inline=False, workers=1, **options)(neg).map([1]) == [-1]
        for options in ({"context": "loky"}, {"backend": "loky"}):
            try: parallel(inline=False, workers=1, **options)(neg).map([1])
            except FileNotFoundError as error: print(*error.__notes__)
        """,
        str(tmp_path),
    )
    for told in printed.splitlines():
        assert "working folder of this process was removed" in told
        assert told.endswith("neg() could not run item 0: 1")
    assert len(printed.splitlines()) == 2


def test_real_limits() -> None:
    """No descriptor left, no file large enough, no memory: the errors of real calls say so."""
    printed = run(
        """
        import os, resource, sys
        from procession import isolated, parallel, shared

        # Compiled modules would be cut to 1000 bytes below, and CPython would keep them so.
        sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"

        def same(x): return x
        def take(n): return bytearray(n)

        def notes(call):
            try: call()
            except (OSError, MemoryError) as error: print(*getattr(error, "__notes__", ["none"]))
            else: print("passed")

        work = parallel(inline=False, workers=1)(take)
        work.map([1])
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
        notes(lambda: parallel(inline=True)(take).map([8 << 30]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        notes(lambda: shared.Queue())
        notes(lambda: isolated(same)(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        held = []
        try:
            while True: held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            for each in held[-4:]: os.close(each)
        notes(lambda: isolated(same)(1))
        notes(lambda: parallel(inline=False)(same).map([1]))
        """
    )

    memory, queue, alone, single, mapped = printed.splitlines()
    assert "RLIMIT_AS" in memory
    assert "RLIMIT_FSIZE" in queue
    assert "RLIMIT_FSIZE" in alone
    assert "RLIMIT_NOFILE" in single
    assert "RLIMIT_NOFILE" in mapped
    assert mapped.endswith("same() could not run item 0: 1")


def test_django_models(tmp_path: Path) -> None:
    """A Django that was not set up in the worker: the note names the initializer."""
    folder = tmp_path / "django" / "core"
    folder.mkdir(parents=True)
    (tmp_path / "django" / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    (folder / "exceptions.py").write_text("class AppRegistryNotReady(Exception): ...\n")
    (tmp_path / "models.py").write_text(
        "from procession import parallel\n"
        "from django.core.exceptions import AppRegistryNotReady\n"
        "import os\n"
        "def check(*args):\n"
        "    if os.environ['MAIN'] != str(os.getpid()): raise AppRegistryNotReady('not yet')\n"
        "class Book:\n"
        "    def __reduce__(self): return check, ()\n"
        "@parallel(inline=False, workers=1)\n"
        "def title(book): return 'a'\n"
        "@parallel(inline=False, workers=1)\n"
        "def query(number): check()\n"
    )

    printed = run(
        """
        import os
        os.environ["MAIN"] = str(os.getpid())
        import models
        for call in (lambda: models.title.map([models.Book()]), lambda: models.query.map([1])):
            try: call()
            except Exception as error: print(" ".join(str(error).split()), *error.__notes__)
        """,
        PYTHONPATH=str(tmp_path),
    )

    assert printed.count("initializer=django.setup") == 2
