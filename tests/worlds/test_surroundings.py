"""What a program changes around it while workers are warm, they see with the next call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.worlds.running import run

PLACES: list[dict[str, Any]] = [
    {},
    {"context": "spawn"},
    {"context": "fork"},
    {"backend": "loky"},
    {"backend": "stdlib"},
]


@pytest.mark.parametrize("place", PLACES)
def test_workers_follow_the_caller(tmp_path: Path, place: dict[str, Any]) -> None:
    """Folder, variables, umask and time zone; changed, changed again, and changed back."""
    program = f"""
        import os, time
        from procession import isolated, parallel

        def look(x):
            mask = os.umask(0)
            os.umask(mask)
            names = ("ADDED", "CHANGED", "REMOVED", "TZ")
            zone = time.localtime(0).tm_hour, time.tzname
            return os.getcwd(), mask, zone, [os.environ.get(name) for name in names]

        os.environ.update(CHANGED="1", REMOVED="1", TZ="UTC")
        time.tzset()
        f = parallel(workers=2, inline=False, chunk=1, **{place!r})(look)
        one = isolated(look)

        def agree():
            found = [*f.map(range(6)), f.submit(1).result(), one(1)]
            return all(each == look(1) for each in found)

        told = [agree()]
        folder = os.getcwd()
        os.mkdir("below")
        os.chdir("below")
        told.append(agree())
        os.umask(0o027)
        os.environ.update(ADDED="x", CHANGED="2", TZ="Asia/Tokyo")
        del os.environ["REMOVED"]
        time.tzset()
        told.append(agree())
        del os.environ["ADDED"]
        os.environ["REMOVED"] = "again"
        os.chdir(folder)
        told.append(agree())
        os.environ.update(CHANGED="1", REMOVED="1", TZ="UTC")
        time.tzset()
        told.append(agree())
        print(told)
    """
    assert run(program, folder=tmp_path) == [str([True] * 5)]
