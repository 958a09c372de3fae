"""From a settled item to a value, an error or an outcome, in the caller's process."""

from __future__ import annotations

from typing import Any

from procession import logger as notices
from procession.contract import Item, Reply, Settled
from procession.engine.planning.hints import hint_for
from procession.engine.policy.blame import Rules, may_retry
from procession.errors import NotPicklable
from procession.exceptions.transport import add_item_note, add_note, load_exception
from procession.outcome import Outcome
from procession.pickling.objects import is_a
from procession.pickling.pickler import loads
from procession.system.interrupts import strikes

__all__ = ["asks_again", "error_of", "outcome_of", "value_of"]


def error_of(item: Item, reply: Reply, rules: Rules) -> BaseException:
    """The exception that an item raised, as itself, with a note that names function and item."""
    if reply.raw:
        error: BaseException = reply.payload
    else:
        from procession.worker.failures import globals_note

        error = load_exception(reply.payload)
        note = globals_note(reply.payload)
        if note:
            error.add_note(note)
    if isinstance(error, NotPicklable) and error.where == "argument" and not reply.raw:
        error = _located(error, item, rules)
    return noted(error, item, rules, here=reply.raw)


def asks_again(item: Item, reply: Reply, rules: Rules) -> bool:
    """Whether the item's error, which is rebuilt for that, is one of `retry_on`; counts if so.

    Not for threads that others wait for: to rebuild an error runs code of the user's.
    """
    try:
        error = error_of(item, reply, rules)
        again = may_retry(item, error, rules)
    except BaseException:
        return False  # it cannot be rebuilt: whoever asks for it is told so
    if again:
        notices.retried(rules.name, rules.retries, item, error, single=rules.single)
    return again


def _located(error: NotPicklable, item: Item, rules: Rules) -> BaseException:
    """A worker that could not rebuild an argument knows the type; only here is the object."""
    from procession.explaining.unloadable import locate

    value, names = item.value, rules.names
    if rules.single:
        args, kwargs = value
        return locate(error, [*zip(names, args, strict=False), *kwargs.items()])
    roots = [(names[0] if names else "item", value)]
    if is_a(value, tuple):  # it may have been taken apart, by starmap
        roots += zip(names, value, strict=False)
    return locate(error, roots)


def noted(error: BaseException, item: Item, rules: Rules, *, here: bool = False) -> BaseException:
    """Say in notes which function and item raised, and what can be done where that is known.

    Makes StopIteration safe to raise in `next`.

    Args:
        error: What the item raised.
        item: The item.
        rules: The name for the note, and the function's parameters.
        here: Whether it ran in this process.
    """
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        # Raised from __next__ it would end the caller's loop silently (PEP 479's reason).
        wrapped = RuntimeError(f"{rules.name}() raised {type(error).__name__}")
        wrapped.__cause__ = error
        error = wrapped
    add_item_note(error, rules.name, None if rules.single else item.index, item.value)
    hint = hint_for(error, item, rules, here=here)
    if hint:
        add_note(error, hint)
    return error


def value_of(settled: Settled, rules: Rules) -> Any:
    """The item's value.

    Raises:
        BaseException: What the item raised, or why it could not be run.
    """
    item, reply, error = settled
    if error is not None:
        raise noted(error, item, rules)
    assert reply is not None
    if not reply.ok:
        raise error_of(item, reply, rules)
    if reply.raw:
        return reply.payload
    try:
        return loads(reply.payload, reply.buffers)
    except MemoryError as exhausted:
        noted(exhausted, item, rules, here=True)
        raise
    except (Exception, SystemExit) as broken:
        if strikes(broken):
            raise
        raise _unloadable(broken, item, rules, reply.payload) from broken


def outcome_of(settled: Settled, rules: Rules) -> Outcome[Any]:
    """The item's outcome, whatever came of it.

    Raises:
        BaseException: What a signal handler has raised meanwhile.
    """
    item, reply, _ = settled
    seconds = item.seconds + (reply.seconds if reply is not None else 0.0)
    try:
        value = value_of(settled, rules)
    except BaseException as error:
        if strikes(error):
            raise
        failure = error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None)
        return Outcome(item.index, item.value, None, failure, item.attempt, seconds)
    return Outcome(item.index, item.value, value, None, item.attempt, seconds)


def _unloadable(error: BaseException, item: Item, rules: Rules, blob: bytes) -> BaseException:
    from procession.explaining.unloadable import explain_unloadable

    refusal = explain_unloadable(
        error, where="result", function=rules.name, root="result", blob=blob
    )
    add_item_note(refusal, rules.name, None if rules.single else item.index, item.value)
    return refusal
