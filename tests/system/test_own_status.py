"""What is read of this process, by a descriptor that is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from procession.system import identity as module
from procession.system.identity import own_status

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux")


def _anew(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(module, "_known", (-1.0, b""))
    return own_status()


def test_it_is_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a forked child, which reads its own."""
    assert b"\nPid:\t%d\n" % os.getpid() in _anew(monkeypatch)
    child = os.fork()
    if not child:
        os._exit(int(b"\nPid:\t%d\n" % os.getpid() not in own_status()))
    assert os.waitpid(child, 0)[1] == 0


def test_a_descriptor_that_is_another_files_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The program has closed it, and uses its number: that file stays as it is."""
    _anew(monkeypatch)
    number = module._kept
    os.close(number)
    (tmp_path / "file").write_bytes(b"Name: not this one\n")
    other = os.open(tmp_path / "file", os.O_RDONLY)
    if other != number:
        os.dup2(other, number)
    try:
        assert b"\nPid:\t%d\n" % os.getpid() in _anew(monkeypatch)
        assert os.read(number, 5) == b"Name:"
    finally:
        for each in {other, number}:
            os.close(each)
