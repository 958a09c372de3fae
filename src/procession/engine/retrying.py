"""Another attempt of an item that failed: whether there is one, and when it begins."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial

from procession import logger
from procession.engine.decoding import error_of
from procession.engine.policy.blame import Rules, may_retry, unable
from procession.items import Item, Reply
from procession.system.alarm import after
from procession.system.interrupts import strikes, tried
from procession.user_threads import user_threads


def again(item: Item, error: BaseException, rules: Rules) -> bool:
    """Whether an item that raised this is to be tried again; counts it, and tells the logger."""
    retried = may_retry(item, error, rules)
    if retried:  # a handler that raises changes nothing of that
        told = partial(logger.retried, single=rules.single)
        tried(None, told, rules.name, rules.retries, item, error)
    return retried


def asks_again(item: Item, reply: Reply, rules: Rules) -> bool:
    """The same of an error that a worker sent, which is rebuilt for that.

    Not for threads that others wait for: to rebuild an error runs code of the user's.
    """
    try:
        return again(item, error_of(item, reply, rules), rules)
    except BaseException:
        return False  # it cannot be rebuilt: the consumer is told so


def pause_before(item: Item, rules: Rules) -> float:
    """Seconds until the item's next attempt, which is counted already: up to a tenth more.

    What failed together, as when a server went down, does not come back in the same instant.

    Raises:
        BaseException: What the item fails with, if `retry_delay` cannot tell how long.
    """
    try:
        return rules.seconds_before(item.attempt) * (1 + os.urandom(1)[0] / 2550)
    except BaseException as error:
        if strikes(error):
            raise
        raise unable(item, error) from None


def begin_again(
    item: Item,
    rules: Rules,
    go: Callable[[], None],
    give_up: Callable[[BaseException], None],
    most: float = math.inf,
) -> None:
    """Have `go` called in a user thread when the item's next attempt may begin.

    Args:
        item: Its next attempt is counted already.
        rules: Say how long that is.
        go: Begins the attempt.
        give_up: Called in its place, with what the item fails with, if `retry_delay` cannot tell.
        most: Seconds after which it is called in any case.
    """

    def rest() -> None:
        try:
            seconds = pause_before(item, rules)
        except BaseException as error:
            give_up(error)
            return
        if seconds <= 0:
            go()
        else:
            after(min(seconds, max(0.0, most)), partial(user_threads.run_soon, go))

    user_threads.run_soon(rest)
