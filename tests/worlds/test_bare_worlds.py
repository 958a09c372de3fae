"""Worlds in which something is missing: devices, an event loop of asyncio, the main interpreter."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.worlds.running import run

_READ_ONLY = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'


@cache
def _without_devices() -> tuple[str, ...]:
    """What to put in front of a command so that it finds an empty /dev; empty: it may not."""
    for unshare in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        command = [*unshare, "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"]
        if shutil.which("unshare"):
            tried = subprocess.run([*command, "true"], capture_output=True)
            if tried.returncode == 0:
                return tuple(command)
    return ()


@pytest.mark.parametrize("way", ["forkserver", "spawn", "fork"])
@pytest.mark.skipif(not _without_devices(), reason="may not unmount /dev here")
def test_an_empty_folder_of_devices(way: str, tmp_path: Path) -> None:
    """Workers start; their stdin is at its end."""
    program = f"""
    import os
    from procession import parallel
    def read(_):
        return os.read(0, 1)
    print(parallel(inline=False, workers=1, context={way!r})(read).map([0]))
    """
    assert run(program, folder=tmp_path, before=_without_devices()) == ["[b'']"]


@pytest.mark.skipif(not _without_devices(), reason="may not unmount /dev here")
def test_the_standard_library_without_its_folder(tmp_path: Path) -> None:
    """Its semaphores need /dev/shm, which the error says."""
    program = """
    from procession import parallel
    try:
        parallel(inline=False, workers=1, backend="stdlib")(abs).map([1])
    except OSError as error:
        print(any("backend='process'" in note for note in error.__notes__))
    """
    assert run(program, folder=tmp_path, before=_without_devices()) == ["True"]


@pytest.mark.parametrize("backend", ["stdlib", "loky"])
@pytest.mark.skipif(not _without_devices(), reason="may not mount here")
def test_a_folder_of_semaphores_that_is_read_only(backend: str, tmp_path: Path) -> None:
    """The error of the backends that need semaphores says so; the default one needs none."""
    program = f"""
    from procession import parallel
    print(parallel(inline=False, workers=1)(abs).map([1]))
    try:
        parallel(inline=False, workers=1, backend={backend!r})(abs).map([1])
    except OSError as error:
        print(any("cannot be written to" in note for note in error.__notes__))
    """
    before = (*_without_devices()[:-2], _READ_ONLY, "sh")
    assert run(program, folder=tmp_path, before=before) == ["[1]", "True"]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the module has another name there")
def test_a_sub_interpreter(tmp_path: Path) -> None:
    """Processes are refused in one line, and what needs none works."""
    program = """
    import _xxsubinterpreters as interpreters
    interpreters.run_string(interpreters.create(), '''
if True:
    from procession import BackendUnavailable, isolated, parallel
    for call in (
        lambda: parallel(inline=False, workers=1)(abs).map([1]),
        lambda: parallel(inline=False, workers=1, backend="stdlib")(abs).map([1]),
        lambda: isolated(abs)(-1),
    ):
        try:
            call()
        except BackendUnavailable as error:
            print("sub-interpreter" in str(error))
    print(parallel(backend="serial")(abs).map([-1]))
''')
    """
    lines = [line.removeprefix("    ") for line in program.splitlines()]
    lines[4:-2] = program.splitlines()[4:-2]
    assert run("\n".join(lines), folder=tmp_path) == ["True", "True", "True", "[1]"]


def test_waiting_without_asyncio(tmp_path: Path) -> None:
    """Other event loops, such as trio's, are told what to write; an isolated call does not run."""
    program = """
    from procession import background, isolated, parallel, stats
    @isolated
    async def answer(): ...
    async def ask():
        await answer()
    async def wait():
        await background(abs)(-1)
    async def take():
        async for _ in parallel(abs).aimap([1]):
            pass
    for coroutine in (ask(), wait(), take()):
        try:
            coroutine.send(None)
        except RuntimeError as error:
            print("trio.to_thread.run_sync" in str(error))
            print(any(name.startswith("isolated") for name in stats()))
    """
    assert run(program, folder=tmp_path) == ["True", "False"] * 3
