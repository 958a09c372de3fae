"""Who is to blame when a chunk ends early, and what becomes of each of its items. Pure policy."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Sequence

from procession.contract import Chunk, End
from procession.engine.policy.placement import Pace
from procession.errors import MemoryLimitExceeded, PoolClosed, TimedOut
from procession.items import Item
from procession.pickling.exceptions import own_copy
from procession.pickling.notes import add_note
from procession.pickling.objects import text_of
from procession.system import FOLDER, NamedTuple
from procession.system.interrupts import tried

_OURS = f'File "{FOLDER}{os.sep}'
"""How a line of a stack begins whose code is Procession's."""

_STARTS = 3
"""How often a worker may die under a chunk before any of its items has started, until the chunk's
first item is blamed. A guess: once may be the kernel, twice bad luck."""


class Verdict(NamedTuple):
    """What becomes of one item that has no reply: an error, or another run (`error` is `None`)."""

    item: Item
    error: BaseException | None = None
    apart: bool = False
    """Whether its next run must be alone in an executor, to find the one that breaks it."""
    counted: bool = False
    """Whether its next run is one of its `retries`, before which `retry_delay` passes."""


class Rules(NamedTuple):
    """The options that the verdicts depend on."""

    name: str
    retries: int = 0
    retry_on: tuple[type[BaseException], ...] = ()
    single: bool = False
    """Whether this is one call rather than an item of a map."""
    names: tuple[str, ...] = ()
    """The function's parameters, from the item's on: what the paths into arguments begin with."""
    pace: Pace | None = None
    """Where it is kept that an item of this function has killed a worker."""
    delay: float | Callable[[int], float] = 0.0
    """Seconds before another attempt, or what gives them for its number."""

    def seconds_before(self, attempt: int) -> float:
        """How long to wait before this attempt; 2 is the first retry.

        Raises:
            BaseException: What the user's function raises.
            ValueError: It gave no number of seconds.
        """
        delay = self.delay
        if not callable(delay):
            return delay
        seconds = delay(attempt)
        try:
            if not isinstance(seconds, bool) and 0 <= float(seconds) < math.inf:
                return float(seconds)
        except (TypeError, ValueError):
            pass
        name = getattr(delay, "__name__", None) or type(delay).__name__
        raise ValueError(
            f"retry_delay={name} gave {seconds!r} for attempt {attempt}, and must give a number of "
            "seconds of at least 0, such as 0.5."
        )


def may_retry(item: Item, error: BaseException, rules: Rules, *, any_error: bool = False) -> bool:
    """Whether an item that failed with `error` is to be tried again; counts the attempt if so.

    Args:
        item: The item.
        error: What it raised, or what became of its worker.
        rules: Say how often, and after which errors.
        any_error: Whether `retry_on` does not matter: the death of a worker is no error of its own.
    """
    if item.attempt > rules.retries:
        return False
    # A class may say in its own way what its instances are, and raise.
    if not (any_error or tried(False, isinstance, error, rules.retry_on)):
        return False
    item.attempt += 1
    item.failed = error
    return True


def unable(item: Item, error: BaseException) -> BaseException:
    """What becomes of an item that cannot be run, or run again: if it was, its own last error."""
    if item.failed is None:
        return error
    add_note(item.failed, f"It was to be tried again, but {text_of(error)}")
    return item.failed


def judge(chunk: Chunk, missing: Sequence[Item], end: End, rules: Rules) -> list[Verdict]:
    """Say what becomes of the items of an ended chunk that did not reply.

    Args:
        chunk: The chunk that ended.
        missing: Its items without a reply, in order.
        end: How it ended.
        rules: Retries and the name for messages. It is marked there if an item killed a worker.
    """
    if end.kind == "broken":
        for item in missing:
            item.failed = _error(chunk, item, end, rules)
        return [Verdict(item, apart=True) for item in missing]
    if end.kind in ("refused", "cancelled", "done"):
        # One error each: items add their own notes and traceback.
        return [
            Verdict(item, unable(item, own_copy(end.error or _closed(rules)))) for item in missing
        ]
    guilty = next((item for item in missing if item.index == end.index), None)
    if guilty is None and missing:
        missing[0].starts += 1
        if missing[0].starts >= _STARTS:
            guilty = missing[0]
    verdicts: list[Verdict] = []
    for item in missing:
        if item is not guilty:
            verdicts.append(Verdict(item))
            continue
        item.seconds += end.seconds
        if end.kind == "died" and rules.pace is not None:
            rules.pace.deadly = True
        error = _error(chunk, item, end, rules)
        again = may_retry(item, error, rules, any_error=end.kind != "memory")
        verdicts.append(Verdict(item, None if again else error, counted=again))
    return verdicts


def _closed(rules: Rules) -> PoolClosed:
    return PoolClosed(
        f"{rules.name}() was ended because its pool was shut down while it ran. Call shutdown() "
        "only when nothing is running, or read the results first."
    )


def _error(chunk: Chunk, item: Item, end: End, rules: Rules) -> BaseException:
    index = None if rules.single else item.index
    what = f"{rules.name}()" if rules.single else f"{rules.name}(), item {item.index},"
    if end.host:
        what += f" on {end.host}"
    if end.kind == "timeout":
        seconds = chunk.job.timeout or 0.0
        return TimedOut(
            f"{what} ran longer than its timeout of {seconds:g} s and was ended"
            f"{_attempts(item)}. Give it more time with timeout=, or find out where it was:"
            f"{_indent(end.stack)}",
            seconds=seconds,
            index=index,
            stack=end.stack,
        )
    if end.kind == "memory":
        limit = chunk.job.memory_limit or 0
        return MemoryLimitExceeded(
            f"{what} took {end.peak / 1e6:.0f} MB of private memory, more than its memory_limit "
            f"of {limit / 1e6:.0f} MB, and was ended{_attempts(item)}. Raise memory_limit=, or "
            "give it less to do at once.",
            limit=limit,
            peak=end.peak,
            index=index,
        )
    return _died(what, item, end, index)


_DESERTED = (
    " Code in it closed descriptors that it had not opened (os.closerange, a library that makes "
    "daemons); close only your own."
)

_HINTS = {
    "SIGKILL": " It was killed from outside, or the system ran out of memory.",
    "SIGSEGV": " Native code crashed.",
    "SIGABRT": " Native code gave up.",
    "SIGBUS": " Memory that a file backs was not there: a file was cut short while it was mapped, "
    "or its file system (such as /dev/shm) is full.",
    "SIGXCPU": " It had used up its CPU time: raise that limit (RLIMIT_CPU, `ulimit -t`).",
    "SIGXFSZ": " It wrote too large a file: raise that limit (RLIMIT_FSIZE, `ulimit -f`).",
    "SIGTERM": " It was ended from outside.",
}


def _died(what: str, item: Item, end: End, index: int | None) -> BaseException:
    from procession.errors import WorkerDied

    name = signal_name(end.exitcode)
    if end.deserted:
        how = "closed its connection to this process, and was ended for that"
    elif name is not None:
        how = f"was killed by {name}"
    elif end.exitcode is not None:
        how = f"exited with code {end.exitcode}"
    else:
        how = "died (its exit code is not known)"
    hint = _DESERTED if end.deserted else _HINTS.get(name or "", "")
    started = "" if item.starts < _STARTS else " before it could start the item, several times"
    return WorkerDied(
        f"The worker that ran {what} {how}{started}{_attempts(item)}.{hint} Only this "
        f"{'call' if index is None else 'item'} is lost; the pool goes on. If it may pass another "
        f"time, write retries=1.{_indent(end.stack)}",
        exitcode=end.exitcode,
        signal=name,
        index=index,
        attempts=item.attempt,
        stack=end.stack,
    )


def signal_name(exitcode: int | None) -> str | None:
    """The name of the signal that an exit code stands for, or `None`."""
    if exitcode is None or exitcode >= 0:
        return None
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"


def _attempts(item: Item) -> str:
    return f", at attempt {item.attempt}" if item.attempt > 1 else ""


def _indent(stack: str) -> str:
    """A stack for a message: the user's own frames, without what lies below them."""
    lines: list[str] = []
    below = False
    for line in stack.strip().splitlines():
        if not line.startswith("  "):
            below = False
        elif line.lstrip().startswith(_OURS):
            below = True
        if not below:
            lines.append("  " + line)
    return "".join("\n" + line for line in lines)
