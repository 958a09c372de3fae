"""What keeps a run from being faster, in plain words. Judges `Figures`; prints nothing."""

from __future__ import annotations

from procession.profiling.figures import Figures

__all__ = ["bound", "losses", "remarks"]

_WORTH = 0.1
"""The part of what could be saved that a loss must be, to be worth a sentence. A guess."""


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
            "items that ran one by one in this process, since sending them would take longer "
            "(give more work to each item, or map over larger pieces)",
        )
    )
    tail = sum(stretch.tail for stretch in stretches)
    found.append((tail, "workers with nothing left to do while the last items ran"))
    found.append((figures.lost / lanes, "attempts whose worker was ended or died"))
    named = sum(seconds for seconds, _ in found if seconds > 0)
    rest = figures.seconds - figures.ideal - named
    found.append(
        (rest, "waiting: for input, for messages, for a CPU, or for whoever takes the results")
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
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
