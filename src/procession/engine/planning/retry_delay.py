"""``retry_delay``: the time between an attempt that failed and the next one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from procession.contract import Item
from procession.engine.policy.blame import Rules, unable
from procession.system.alarm import after
from procession.user_threads import teller

__all__ = ["rest", "seconds_before"]


def rest(
    item: Item,
    rules: Rules,
    go: Callable[[], None],
    give_up: Callable[[BaseException], None],
    most: float = math.inf,
) -> None:
    """Have `go` called in a teller's thread when the item's next attempt may begin.

    Args:
        item: Whose next attempt is counted already.
        rules: Say how long that is.
        go: Begins the attempt.
        give_up: Called in its place, with what the item fails with, if nobody can tell how long.
        most: Seconds after which it is called in any case.
    """
    teller.tell(partial(_rest, item, rules, go, give_up, most))


def _rest(
    item: Item,
    rules: Rules,
    go: Callable[[], None],
    give_up: Callable[[BaseException], None],
    most: float,
) -> None:
    try:
        seconds = seconds_before(rules, item.attempt)
    except BaseException as error:
        give_up(unable(item, error))
        return
    if seconds <= 0:
        go()
    else:
        after(min(seconds, max(0.0, most)), partial(teller.tell, go))


def seconds_before(rules: Rules, attempt: int) -> float:
    """How long to wait before this attempt; 2 is the first retry.

    Raises:
        BaseException: What the user's function raises.
        ValueError: It gave no number of seconds.
    """
    delay = rules.delay
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
