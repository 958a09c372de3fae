"""A profile as a file: an HTML page that loads nothing from anywhere, or trace events.

Perfetto and Chrome's tracing page open the trace. Its times are microseconds since the profile
began. Each worker is a process with one thread, this process has one thread for each that ran
items; calls are asynchronous slices of this process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from html import escape
from math import log10
from typing import Any

from procession.profiling.call_record import CallRecord
from procession.profiling.figures import Figures, Recorded
from procession.profiling.summary import heading, nothing, remarks, seconds, speedup, tables
from procession.profiling.tracks import Block, coarser

_WIDTH, _ROW, _LEFT = 1000, 22, 190
_FINE = 2000
"""Parts of the whole time below which items are drawn as one: half of a dot at the usual width."""

_HUES = (210, 150, 30, 280, 90, 330, 180, 60)

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
td, th { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
td:first-child, th:first-child, .free td, .free th { text-align: left; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: currentColor; }
.start { fill: #8888; }
.failed { stroke: #d00; stroke-width: 1.5; }
.lane { fill: #8881; }
.key { display: inline-block; width: .9em; height: .9em; margin: 0 .4em 0 1em; }
"""


def page(profile: Recorded) -> str:
    """The profile as a page."""
    figures = Figures(profile)
    at = datetime.fromtimestamp(profile.at).astimezone()
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Procession: profile</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>Profile of {at:%Y-%m-%d %H:%M:%S}</h1>",
    ]
    if not figures.calls:
        parts.append(f"<p>{escape(nothing(figures))}</p>")
    else:
        parts.append(f"<p>{escape(heading(figures))}</p>")
        parts += _timeline(figures, profile.began)
        for line in (*speedup(figures), *remarks(figures)):
            parts.append(f"<p>{escape(line.strip())}</p>")
        for title, rows in tables(figures, slowest=len(figures.slowest)):
            parts += _table(title, rows)
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"


def _table(title: str, rows: Sequence[Sequence[str]]) -> list[str]:
    free = ' class="free"' if rows[0][-1] == "argument" else ""
    lines = [f"<h2>{escape(title)}</h2>", f"<table{free}>"]
    for at, row in enumerate(rows):
        tag = "td" if at else "th"
        cells = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return [*lines, "</table>"]


def _timeline(figures: Figures, began: float) -> list[str]:
    places = figures.places
    ends = [stretch.ended for stretch in figures.stretches]
    ends += [until for _, until in figures.starts.values()]
    whole = max(max(ends) - began, 1e-6)
    scale = (_WIDTH - _LEFT) / whole
    functions = list(dict.fromkeys(call.function for call in figures.calls))
    colours = {name: _colour(number) for number, name in enumerate(functions)}
    height = _ROW * (len(places) + 1)
    lines = ["<h2>Timeline of every worker</h2>", "<p>"]
    for name in functions:
        key = f'<span class="key" style="background:{colours[name]}"></span>'
        lines.append(f"{key}{escape(name)}()")
    lines.append('<span class="key" style="background:#8888"></span>start of a worker</p>')
    lines.append(f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">')
    for row, place in enumerate(places):
        y = row * _ROW
        lines.append(
            f'<text x="0" y="{y + 15}">{escape(_label(place))}</text>'
            f'<rect class="lane" x="{_LEFT}" y="{y + 2}" width="{_WIDTH - _LEFT}" '
            f'height="{_ROW - 4}"/>'
        )
        if place in figures.starts:
            since, until = figures.starts[place]
            text = f"start of worker {place[0]}: {seconds(until - since)}"
            left, width = _LEFT + (since - began) * scale, (until - since) * scale
            lines.append(_bar(left, y, width, 'class="start"', text))
        for call in figures.calls:
            track = call.tracks.get(place)
            for block in coarser(track.blocks, whole / _FINE) if track is not None else ():
                what = f"item {block.index}" if block.items == 1 else f"{block.items:,} items"
                text = f"{call.function}(): {what}, {seconds(block.stop - block.start)}"
                failed = ' class="failed"' if block.failed else ""
                text += f", {block.failed} failed" if block.failed else ""
                how = f'fill="{colours[call.function]}"{failed}'
                left = _LEFT + (block.start - began) * scale
                lines.append(_bar(left, y, (block.stop - block.start) * scale, how, text))
    lines += _axis(whole, scale, height)
    return [*lines, "</svg>"]


def _bar(left: float, y: float, width: float, how: str, text: str) -> str:
    return (
        f'<rect x="{left:.2f}" y="{y + 3}" width="{max(width, 0.5):.2f}" height="{_ROW - 6}" '
        f"{how}><title>{escape(text)}</title></rect>"
    )


def _axis(whole: float, scale: float, height: int) -> list[str]:
    """Marks at round times, five to ten of them."""
    step = 10.0 ** round(log10(whole))
    while whole / step < 5:
        step /= 2
    lines: list[str] = []
    for mark in range(int(whole / step) + 1):
        x = _LEFT + mark * step * scale
        lines.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - _ROW}" stroke="#8884"/>'
            f'<text x="{x:.1f}" y="{height - 5}">{mark * step:.4g} s</text>'
        )
    return lines


def _colour(number: int) -> str:
    return f"hsl({_HUES[number % len(_HUES)]} 60% 55%)"


def _label(place: tuple[int, str]) -> str:
    pid, thread = place
    if pid == os.getpid():
        return f"here: {thread}" if thread else f"here ({pid})"
    return f"worker {pid}"


# -- the trace ------------------------------------------------------------------------------------

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
