"""A profile as text: the figures, and in plain words what keeps a run from being faster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from procession.profiling.figures import Figures, Recorded

_SHOWN = 5
"""Slowest items in the summary; the page shows all that are kept."""

_WORTH = 0.1
"""The part of what could be saved that a loss must be, to be worth a sentence. A guess."""

Table = tuple[str, list[list[str]]]


def summary(profile: Recorded) -> str:
    """The whole summary."""
    figures = Figures(profile)
    if not figures.calls:
        return nothing(figures)
    lines = [heading(figures), ""]
    for title, rows in tables(figures, _SHOWN):
        lines += [f"{title}:" if title else "", *_columns(rows), ""]
    lines += speedup(figures)
    for remark in remarks(figures):
        lines += ["", remark]
    return "\n".join(lines).strip() + "\n"


def nothing(figures: Figures) -> str:
    """What there is to say where nothing was recorded."""
    return (
        f"Nothing was recorded in {seconds(figures.duration)}: no decorated function was mapped, "
        "submitted or run isolated while this profile was open. (A plain call of a @parallel "
        "function, and f.local(), just run here.)\n"
    )


def heading(figures: Figures) -> str:
    """One line: how much, how fast, with what."""
    rate = f"{figures.rate:,.0f}" if figures.rate >= 100 else f"{figures.rate:.3g}"
    return (
        f"{_plural(len(figures.calls), 'call')}, {_plural(figures.items, 'item')} in "
        f"{seconds(figures.seconds)}: {rate} items/s, {_plural(figures.workers, 'worker')}, "
        f"utilisation {figures.utilisation:.0%}"
    )


def tables(figures: Figures, slowest: int) -> list[Table]:
    """Titles and rows; the first row of each names the columns."""
    found: list[Table] = [("By function", _functions(figures)), ("Time", _times(figures))]
    if figures.slowest:
        rows = [["seconds", "item", "argument"]]
        for slow in figures.slowest[:slowest]:
            index = "()" if slow.index is None else f"()[{slow.index}]"
            rows.append([seconds(slow.seconds), f"{slow.function}{index}", slow.argument])
        found.append(("Slowest items", rows))
    return found


def _functions(figures: Figures) -> list[list[str]]:
    names = ["calls", "items", "here", "computing", "sent", "back", "errors", "retries"]
    rows = [["function", *names]]
    for function in dict.fromkeys(call.function for call in figures.calls):
        calls = [call for call in figures.calls if call.function == function]
        rows.append(
            [
                f"{function}()",
                f"{len(calls):,}",
                f"{sum(call.items for call in calls):,}",
                f"{sum(call.here for call in calls):,}",
                seconds(sum(call.computing for call in calls)),
                size(sum(call.traffic.bytes_out for call in calls)),
                size(sum(call.traffic.bytes_back for call in calls)),
                f"{sum(call.errors for call in calls):,}",
                f"{sum(call.retries for call in calls):,}",
            ]
        )
    return rows


def _times(figures: Figures) -> list[list[str]]:
    whole = figures.capacity
    rows = [["where", "seconds", "of the workers' time"]]
    workers: list[tuple[str, float]] = [
        ("computing", figures.computing),
        ("pickling, in workers", figures.crossing),
        ("starting workers", figures.starting),
        ("waiting", figures.waiting),
    ]
    if figures.lost:
        workers.insert(2, ("attempts that were ended", figures.lost))
    for what, spent in workers:
        part = f"{spent / whole:.0%}" if whole > 0 else "-"
        rows.append([what, seconds(spent), part])
    rows.append(["pickling, in this process", seconds(figures.packing + figures.unpacking), "-"])
    return rows


def speedup(figures: Figures) -> list[str]:
    """The largest speed-up possible here, and what keeps the run from it."""
    if figures.possible <= 0 or figures.seconds <= 0:
        return ["Nothing was computed, so there is nothing that could be faster."]
    now = figures.speedup
    lines = [
        f"Largest speed-up possible here: {figures.possible:.3g} times one item after the other "
        f"(this run: {now:.3g} times).",
        f"  It is bounded because {bound(figures)}.",
    ]
    lost = losses(figures)
    if lost:
        lines.append("  What kept this run from it:")
        lines += [f"    {seconds(spent)}  {why}" for spent, why in lost[:3]]
    return lines


def bound(figures: Figures) -> str:
    """What no change of workers or options can overcome."""
    cpus = figures.cpus
    by_items = figures.ideal - sum(stretch.shared(cpus) for stretch in figures.stretches)
    if by_items <= _WORTH * figures.ideal:
        if figures.workers > cpus:
            return f"there were {figures.workers} workers (on {_plural(cpus, 'CPU')})"
        return f"this process may use {_plural(cpus, 'CPU')}"
    alone = sum(stretch.seconds for stretch in figures.stretches if stretch.items == 1)
    if len(figures.stretches) > 1 and alone > figures.seconds / 2:
        return (
            "calls of one item were made one after the other: map over the items, or submit "
            "several calls before the first result() is asked for"
        )
    slow = figures.slowest[0]
    where = f"item {slow.index} of {slow.function}()" if slow.index is not None else slow.function
    if len(figures.stretches) == 1 and slow.index is None:
        where = f"one call of {slow.function}()"
    return (
        f"{where} alone takes {slow.seconds:.3g} s, and no number of workers makes that shorter: "
        "split it, or let the longest items come first"
    )


def losses(figures: Figures) -> list[tuple[float, str]]:
    """Seconds that were lost against the shortest run, and why; the largest first."""
    stretches, cpus = figures.stretches, figures.cpus
    lanes = sum(stretch.lanes * stretch.seconds for stretch in stretches) / figures.seconds
    sent = figures.computing - figures.here_computing
    found: list[tuple[float, str]] = []
    if figures.starts:
        seconds = sum(stretch.startup for stretch in stretches)
        found.append((seconds, "starting workers (pools are kept: later calls do not wait)"))
    moving = figures.packing + figures.unpacking + figures.crossing / lanes
    found.append((moving, "pickling, here and in workers: send and return less"))
    fewer = sent / lanes - sent / cpus if lanes < cpus else 0.0
    found.append((fewer, f"{_plural(round(lanes), 'worker')} on {cpus} CPUs: raise workers="))
    found.append(
        (
            figures.here_computing * (1 - 1 / cpus),
            "items that ran one by one in this process, since sending them would take longer: "
            "give more work to each item, or map over larger pieces",
        )
    )
    tail = sum(stretch.tail for stretch in stretches)
    found.append((tail, "workers with nothing left to do while the last items ran"))
    found.append((figures.lost / lanes, "attempts whose worker was ended or died"))
    named = sum(seconds for seconds, _ in found if seconds > 0)
    rest = figures.seconds - figures.ideal - named
    found.append(
        (rest, "waiting: for input, for messages, for a CPU, or for what takes the results")
    )
    worth = _WORTH * (figures.seconds - figures.ideal)
    return sorted((each for each in found if each[0] > max(0.0, worth)), reverse=True)


def remarks(figures: Figures) -> list[str]:
    """What else is worth a word."""
    said = [call.traffic.warning(call.function) for call in figures.calls]
    found = [text for text in said if text is not None]
    if "thread" in figures.backends:
        found.append(
            "Threads share this process: the time computing of backend='thread' includes what an "
            "item waits for the interpreter's lock."
        )
    return found


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def seconds(value: float) -> str:
    """A time, in a unit that suits it."""
    if value >= 1 or value <= 0:
        return f"{value:.2f} s"
    if value >= 1e-3:
        return f"{value * 1e3:.1f} ms"
    return f"{value * 1e6:.0f} µs"


def size(count: float) -> str:
    """A number of bytes, in a unit that suits it."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _columns(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Rows in columns: names and free text to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    free = rows[0][-1] == "argument"
    for row in rows:
        cells: list[str] = []
        for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
            left = (at == 0 and not free) or (free and at > 0)
            cells.append(cell.ljust(width) if left else cell.rjust(width))
        yield ("  " + "  ".join(cells)).rstrip()
