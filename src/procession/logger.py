"""What operators are told by the logger ``procession``: deaths and retries, starts and ends.

Quiet unless the program has set logging up. Handlers are the user's own code, so records are made
and handled in the user threads. Nothing but a look at two lists happens where the events do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from procession.contract import End
from procession.hints import Any
from procession.items import Item
from procession.pickling.objects import short_repr
from procession.user_threads import user_threads

_NAME = "procession"
_DEBUG = 10
_WARNING = 30


def worker_started(pid: int, method: str) -> None:
    """A worker process is ready."""
    _tell(_DEBUG, "worker %d started (%s)", pid, method)


def worker_ended(pid: int, code: int | None) -> None:
    """A worker process has ended."""
    how = "its exit code is not known" if code is None else f"exit code {code}"
    _tell(_DEBUG, "worker %d ended (%s)", pid, how)


def died(name: str, retries: int, verdicts: Sequence[Any], end: End, *, single: bool) -> None:
    """A chunk ended without replies of all its items.

    Args:
        name: The function's.
        retries: Its option.
        verdicts: What becomes of each item that has no reply (`engine.policy.blame.Verdict`).
        end: How the chunk ended.
        single: Whether it is one call rather than an item of a map.
    """
    if end.kind in ("done", "cancelled", "refused") or not _heard():
        return
    guilty = [
        (verdict.item, verdict.error or verdict.item.failed, verdict.error is None)
        for verdict in verdicts
        if verdict.error is not None or (verdict.item.index == end.index and verdict.item.failed)
    ]
    for item, error, again in guilty:
        _tell_item(name, retries, item, error, again=again, single=single)
    if not guilty and verdicts:
        _tell(_WARNING, "A worker of %s() died; %d items run again", name, len(verdicts))


def retried(name: str, retries: int, item: Item, error: BaseException, *, single: bool) -> None:
    """An item raised an error after which it is tried again; its attempt is counted already."""
    if _heard():
        _tell_item(name, retries, item, error, again=True, single=single)


def _tell_item(
    name: str, retries: int, item: Item, error: Any, *, again: bool, single: bool
) -> None:
    user_threads.run_soon(
        partial(_log_item, name, retries, item, error, item.attempt, again, single)
    )


def _log_item(
    name: str, retries: int, item: Item, error: Any, attempt: int, again: bool, single: bool
) -> None:
    where = f"{name}()" if single else f"{name}(), item {item.index}"
    cause = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    what = f"tried again, attempt {attempt} of {retries + 1}" if again else "given up"
    _log(_WARNING, "%s (%s): %s; %s", where, short_repr(item.value), cause, what)


def _tell(level: int, text: str, *args: Any) -> None:
    if _heard():
        user_threads.run_soon(partial(_log, level, text, *args))


def _heard() -> bool:
    """Whether anybody has set logging up. Takes no lock, and runs no code of the user's."""
    logging = sys.modules.get("logging")
    root = getattr(logging, "root", None)
    if root is None:
        return False
    own = root.manager.loggerDict.get(_NAME)
    return bool(root.handlers or getattr(own, "handlers", ()))


def _log(level: int, text: str, *args: Any) -> None:
    import logging

    logger = logging.getLogger(_NAME)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.log(level, text, *args)
