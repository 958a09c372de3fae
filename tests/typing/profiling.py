# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: D103
"""Profiles."""

from pathlib import Path
from typing import assert_type

import procession
from procession import Profile


def recorded() -> None:
    with procession.profile() as p:
        assert_type(p, Profile)
    assert_type(procession.profile(), Profile)
    assert_type(p.summary(), str)
    assert_type(str(p), str)
    p.save("run.html")
    p.save(Path("run.json"))

    p.save(3)  # type: ignore[arg-type]
    procession.profile("run.html")  # type: ignore[call-arg]
