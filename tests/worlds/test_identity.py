"""Workers have what their caller may do now: its user, its limits, its processors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.worlds.running import run

NEW = 65534
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become another user"
)


@pytest.mark.parametrize(
    "place",
    [{}, {"context": "spawn"}, {"context": "fork"}, {"backend": "loky"}, {"backend": "stdlib"}],
)
def test_limits_hold_in_workers_from_the_next_call_on(
    tmp_path: Path, place: dict[str, Any]
) -> None:
    """Limits, niceness and processors that the program has changed are those of new workers."""
    program = f"""
        import os, resource
        from procession import Pool, parallel, usable_cpus

        def look(x):
            files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return os.getpid(), files, os.nice(0) - {os.nice(0)}, len(os.sched_getaffinity(0))

        f = parallel(workers=1, inline=False, **{place!r})(look)
        pool = Pool(1)
        first, (pooled, *_) = f.map([1, 2]), pool.submit(look, 1).result()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (234, hard))
        os.nice(3)
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        found = {{*f.map([1, 2]), f.submit(1).result()}}
        new = {{each[0] for each in first}}.isdisjoint([each[0] for each in found])
        print({{each[1:] for each in found}}, usable_cpus(), new)
        again, *seen = pool.submit(look, 1).result()
        print(seen, again != pooled)
    """
    nicer = min(3, 19 - os.nice(0))  # there is no more than 19
    expected = [f"{{(234, {nicer}, 1)}} 1 True", f"[234, {nicer}, 1] True"]
    assert run(program, folder=tmp_path) == expected


@as_root
@pytest.mark.parametrize("place", [{}, {"context": "fork"}])
def test_workers_of_another_user_take_no_new_calls(tmp_path: Path, place: dict[str, Any]) -> None:
    """After `os.setuid` new workers answer, as the new user; and the program ends."""
    program = f"""
        import os
        from procession import isolated, parallel

        def who(x):
            return os.getresuid()[1]

        f = parallel(workers=2, inline=False, **{place!r})(who)
        one = isolated(who)
        print(set(f.map(range(8))), one(1), one(1))
        os.setresgid({NEW}, {NEW}, {NEW})
        os.setresuid({NEW}, {NEW}, {NEW})
        print(f.submit(1).result(), set(f.map(range(8))), one(1))
    """
    assert run(program, folder=tmp_path) == ["{0} 0 0", f"{NEW} {{{NEW}}} {NEW}"]


@as_root
@pytest.mark.parametrize("context", [None, "spawn", "fork"])
def test_limits_strike_though_the_worker_cannot_be_killed(
    tmp_path: Path, context: str | None
) -> None:
    """A worker of another user is given up: its call fails and says why, and all can end."""
    program = f"""
        import os, procession, time
        from procession import TimedOut, parallel

        def never_end(file):
            open(file, "w").close()
            time.sleep(600)

        def begun(future, file):
            while not os.path.exists(file):
                time.sleep(0.01)
            return future

        f = parallel(workers=2, context={context!r}, timeout=2)(never_end)
        g = parallel(workers=2, context={context!r})(never_end)
        second = begun(g.submit("b"), "b")
        first = begun(f.submit("a"), "a")
        os.setresuid({NEW}, {NEW}, {NEW})
        print(second.cancel())
        try:
            first.result(30)
        except TimedOut as error:
            print("EPERM" in str(error))
        procession.shutdown()
        print("over")
    """
    assert run(program, folder=tmp_path) == ["True", "True", "over"]


@as_root
def test_after_chroot_no_worker_of_the_old_root_answers(tmp_path: Path) -> None:
    """Where the new root holds no Python, the call says what a worker needs, and nothing hangs."""
    program = """
        import ctypes
        import os
        from procession import parallel

        ctypes.CDLL("libgcc_s.so.1")  # which threads need when they end

        def look(x):
            return sorted(os.listdir("/"))

        f = parallel(workers=1, inline=False)(look)
        before = f.map([1])
        os.chroot(os.getcwd())
        try:
            print(f.map([1]) == [look(1)])
        except Exception as error:
            print("read Python's library" in " ".join(getattr(error, "__notes__", ())))
    """
    assert run(program, folder=tmp_path, quiet=False) == ["True"]


@as_root
def test_the_program_ends_after_setuid_amid_work_that_never_ends(tmp_path: Path) -> None:
    """What nobody will read is left to the kernel, which ends it with the program."""
    program = f"""
        import os, sys, threading, time
        from procession import parallel

        def never_end(x):
            with open("pid", "w") as file:
                file.write(str(os.getpid()))
            os.rename("pid", "begun")
            time.sleep(600)

        items = parallel(workers=1, inline=False)(never_end).imap([1])
        threading.Thread(target=lambda: next(items, None), daemon=True).start()
        while not os.path.exists("begun"):
            time.sleep(0.01)
        sys.stderr = open(os.devnull, "w")
        os.setresuid({NEW}, {NEW}, {NEW})
        print("over")
    """
    assert run(program, folder=tmp_path) == ["over"]
    pid = int((tmp_path / "begun").read_text())
    for _ in range(20_000):
        if not Path(f"/proc/{pid}/stat").exists():
            return
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert state == "Z"


@pytest.mark.parametrize("context", ["forkserver", "spawn"])
def test_workers_that_cannot_start_say_why(tmp_path: Path, context: str) -> None:
    """Where Python cannot be had, the error says what a worker needs; no pool "was shut down"."""
    program = f"""
        import os
        from procession import parallel

        def half(x):
            return x / 2

        os.environ["PYTHONHOME"] = "/nonexistent"
        try:
            parallel(inline=False, workers=1, context={context!r})(half).submit(1).result(30)
        except Exception as error:
            notes = " ".join([str(error), *getattr(error, "__notes__", ())])
            print("shut down" in notes, "worker" in notes)
    """
    assert run(program, folder=tmp_path, quiet=False) == ["False True"]
