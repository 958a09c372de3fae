"""A profile as trace events, which Perfetto and Chrome's tracing page open.

Times are microseconds since the profile began. Each worker is a process with one thread, this
process has one thread for each that ran items; calls are asynchronous slices of this process.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from procession.profiling.figures import Figures

if TYPE_CHECKING:
    from procession.recording.call_record import CallRecord, Recorded
    from procession.recording.tracks import Block

__all__ = ["trace"]

Event = dict[str, Any]


def trace(profile: Recorded) -> str:
    """The profile as JSON text."""
    figures = Figures(profile)
    began = profile.began
    threads = {place: number for number, place in enumerate(figures.places, 1)}
    events = [*_names(threads)]
    for number, call in enumerate(figures.calls, 1):
        events += _call(number, call, began, profile.ended)
        for place, track in call.tracks.copy().items():
            where = place[0], threads[place]
            events += [_block(call.function, each, began, where) for each in list(track.blocks)]
    for place, (since, until) in figures.starts.items():
        where = place[0], threads[place]
        events.append(_slice("start", "start", (since - began, until - began), where))
    whole = {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"made by": "procession.profile()", "began": profile.at},
    }
    return json.dumps(whole)


def _slice(name: str, kind: str, span: tuple[float, float], where: tuple[int, int]) -> Event:
    start, stop = span
    return {
        "name": name,
        "cat": kind,
        "ph": "X",
        "ts": _micro(start),
        "dur": _micro(stop - start),
        "pid": where[0],
        "tid": where[1],
    }


def _block(function: str, block: Block, began: float, where: tuple[int, int]) -> Event:
    name = f"{function} × {block.items}" if block.items > 1 else function
    kind = "failed" if block.failed else "item"
    made = _slice(name, kind, (block.start - began, block.stop - began), where)
    made["args"] = {"index": block.index, "items": block.items, "failed": block.failed}
    return made


def _names(threads: dict[tuple[int, str], int]) -> list[Event]:
    found: list[Event] = []
    ours = os.getpid()
    pids = dict.fromkeys([ours, *(pid for pid, _ in threads)])
    for order, pid in enumerate(pids):
        name = f"this process ({pid})" if pid == ours else f"worker {pid}"
        found.append(_told("process_name", pid, 0, {"name": name}))
        found.append(_told("process_sort_index", pid, 0, {"sort_index": order}))
    for (pid, thread), number in threads.items():
        found.append(_told("thread_name", pid, number, {"name": thread or "items"}))
    return found


def _told(what: str, pid: int, thread: int, arguments: dict[str, Any]) -> Event:
    """What the page is told of a process or a thread."""
    return {"name": what, "ph": "M", "pid": pid, "tid": thread, "args": arguments}


def _call(number: int, call: CallRecord, began: float, closed: float | None) -> list[Event]:
    common = {"cat": "call", "id": number, "pid": os.getpid(), "tid": 0}
    begin: Event = {"name": f"{call.function}()", "ph": "b", "ts": _micro(call.began - began)}
    begin["args"] = {
        "items": call.items,
        "errors": call.errors,
        "retries": call.retries,
        "bytes sent": call.traffic.bytes_out,
        "bytes back": call.traffic.bytes_back,
    }
    ended = call.ended or max(closed or call.began, call.began)
    end: Event = {"name": f"{call.function}()", "ph": "e", "ts": _micro(ended - began)}
    return [begin | common, end | common]


def _micro(seconds: float) -> float:
    return round(max(0.0, seconds) * 1e6, 3)
