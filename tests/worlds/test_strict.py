"""Strict and odd interpreters: nothing of ours warns or breaks there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT
from tests.worlds.running import run

SMOKE = """
import sys, traceback
from procession import Pool, isolated, parallel, shared, shutdown

def add(x, lock, total, queue):
    with lock:
        total.value += x
    queue.put(x)
    return x + 1

def fail(x):
    raise ValueError(x)

def length(given):
    return len(given)

def options(_):
    return sorted(sys._xoptions)

@isolated
def apart(x):
    return x + 1

def main(way):
    lock, total, queue = shared.Lock(), shared.Value("i", 0), shared.Queue()
    def with_options(f):
        return parallel(inline=False, workers=1, **way)(f)
    results = with_options(add).map([1, 2], lock, total, queue), total.value
    if results != ([2, 3], 3) or queue.get(timeout=30) != 1:
        sys.exit(f"wrong: {results}")
    if with_options(add).submit(3, lock, total, queue).result() != 4:
        sys.exit("wrong call")
    try:
        with_options(fail).map([1])
    except ValueError as error:
        if "in fail" not in "".join(traceback.format_exception(error)):
            sys.exit("no remote traceback")
    if with_options(length).map([shared.put(b"x" * 200_000)]) != [200_000]:
        sys.exit("wrong snapshot")
    if with_options(options).map([0]) != [options(0)] and way.get("backend") != "loky":
        sys.exit("-X options do not cross")
    if "backend" not in way:
        if apart.with_options(**way)(1) != 2:
            sys.exit("wrong isolated call")
        with Pool(1, **way) as pool:
            if list(pool.map(abs, [-1])) != [1]:
                sys.exit("wrong pool")
    shutdown()
    print("done")
"""

WAYS = {
    "forkserver": {"context": "forkserver"},
    "spawn": {"context": "spawn"},
    "fork": {"context": "fork"},
    "stdlib": {"backend": "stdlib"},
    "loky": {"backend": "loky"},
}

STRICT = ("-X", "warn_default_encoding", "-W", "error", "-bb")

INTERPRETERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "all warnings are errors": ("forkserver", STRICT),
    "the same, spawn": ("spawn", STRICT),
    "the same, stdlib": ("stdlib", STRICT),
    "the same, loky": ("loky", STRICT),
    "-X dev": ("forkserver", ("-X", "dev", "-W", "error")),
    "-O -P -s": ("spawn", ("-O", "-P", "-s", "-X", "utf8", "-X", "no_debug_ranges")),
    "no environment": ("forkserver", ("-E", "-X", "pycache_prefix=/nowhere", "-B")),
    "isolated": ("forkserver", ("-I", "-W", "error")),
}


def _smoke(folder: Path, way: str, *options: str, shell: str = "") -> tuple[int, str, str]:
    """Run the smoke program under these options; exit code, stdout and stderr.

    Args:
        folder: Where it runs.
        way: Where its items do.
        options: The interpreter's.
        shell: What a shell does before.
    """
    begin = f"import sys\nsys.path[:0] = {[str(ROOT / 'src')]!r}\n"
    command = [sys.executable, *options, "-c", f"{begin}{SMOKE}\nmain({WAYS[way]!r})"]
    if shell:
        command = ["sh", "-c", f'{shell}; exec "$@"', "sh", *command]
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", INTERPRETERS)
def test_an_interpreter_with_options(name: str, tmp_path: Path) -> None:
    """All kinds of calls work, nothing is told on stderr, and workers have the same options."""
    way, options = INTERPRETERS[name]
    assert _smoke(tmp_path, way, *options) == (0, "done\n", "")


@pytest.mark.parametrize("way", ["forkserver", "spawn", "stdlib"])
def test_a_folder_that_was_removed(way: str, tmp_path: Path) -> None:
    """A program whose working folder is gone: so it is for workers."""
    gone = "mkdir gone; cd gone; rmdir ../gone"
    alone = ["sh", "-c", f'{gone}; exec "$@"', "sh", sys.executable, "-c", "import socket"]
    if subprocess.run(alone, cwd=tmp_path, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("this Python cannot import a module there: 3.13.0 could not")
    assert _smoke(tmp_path, way, shell=gone) == (0, "done\n", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_streams_that_are_closed(closed: str, tmp_path: Path) -> None:
    """A program without stdin or stdout."""
    code, _, told = _smoke(tmp_path, "forkserver", shell=f"exec {closed}")
    assert (code, told) == (0, "")


@pytest.mark.parametrize("way", ["forkserver", "spawn", "stdlib"])
def test_a_path_that_is_longer_than_an_argument_can_be(way: str, tmp_path: Path) -> None:
    """It arrives whole."""
    program = f"""
    import sys
    sys.path += ["/nowhere/" + "x" * 100 + str(i) for i in range(2000)]
    from procession import parallel
    def last(_):
        return sys.path[-1] == "/nowhere/" + "x" * 100 + "1999"
    print(parallel(inline=False, workers=1, **{WAYS[way]!r})(last).map([0]))
    """
    assert run(program, folder=tmp_path) == ["[True]"]


@pytest.mark.parametrize("way", ["forkserver", "spawn"])
def test_a_variable_that_is_longer_than_an_argument_can_be(way: str, tmp_path: Path) -> None:
    """No interpreter can be executed with it, which the error says."""
    program = f"""
    import os
    from procession import parallel
    os.environ["LONG"] = "x" * 140_000
    try:
        parallel(inline=False, workers=1, **{WAYS[way]!r})(abs).map([0])
    except OSError as error:
        print(type(error).__name__, any("os.environ" in note for note in error.__notes__))
    """
    assert run(program, folder=tmp_path) == ["OSError True"]
