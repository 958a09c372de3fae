"""`procession.stats`: what every pool of this process has done, and does now, in plain numbers."""

from __future__ import annotations

from procession.backends import registry
from procession.contract import Backend

__all__ = ["stats"]


def stats() -> dict[str, dict[str, int]]:
    """Plain numbers for each pool of this process, cheap enough for a metrics endpoint.

        {"process[4]": {"workers": 4, "busy": 2, "waiting": 0, "done": 1807, ...}}

    A pool's name is its backend and how many workers it may have; ``isolated[...]`` are the
    processes of isolated calls. Pools of one name, such as those that differ in their initializer,
    are ``#2``, ``#3`` and so on. The pools are those that decorated functions use and those of
    `Pool` objects. A pool that has ended is not listed any more. Calls that ran in this process
    are in no pool, and are not counted. In a forked child there are none at first.

    Returns:
        For each pool

        * ``workers``, ``busy``, ``waiting``: workers that are up, those that have work, and chunks
          or calls that wait for one, now;
        * ``done``, ``failed``: items and calls that gave a result, or failed for good;
        * ``died``: chunks or calls whose worker died;
        * ``retried``: attempts that were followed by another;
        * ``started``: workers so far (for executors, as many as were asked for);
        * ``bytes_out``, ``bytes_back``: bytes of what was sent, and of what came home.
    """
    found: dict[str, dict[str, int]] = {}
    for backend in registry.in_use():
        name = unique = f"{backend.kind}[{backend.workers}]"
        number = 1
        while unique in found:
            number += 1
            unique = f"{name}#{number}"
        found[unique] = _numbers(backend)
    return found


def _numbers(backend: Backend) -> dict[str, int]:
    load, tally = backend.load, backend.tally
    return {
        "workers": load.workers,
        "busy": load.busy,
        "waiting": load.waiting,
        "done": tally.done,
        "failed": tally.failed,
        "died": tally.died,
        "retried": tally.retried,
        "started": load.started,
        "bytes_out": tally.bytes_out,
        "bytes_back": tally.bytes_back,
    }
