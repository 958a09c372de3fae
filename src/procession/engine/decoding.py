"""From a settled item to a value, an error or an outcome; and notes on what to do."""

from __future__ import annotations

from collections.abc import Sized

from procession.engine.policy.blame import Rules
from procession.errors import NotPicklable, ProcessionError
from procession.hints import Any, cast
from procession.items import Item, Reply, Settled
from procession.outcome import Outcome
from procession.pickling.columns import open_value
from procession.pickling.exceptions import load_exception, raisable
from procession.pickling.notes import add_item_note, add_note
from procession.pickling.objects import is_a, text_of
from procession.pickling.refusals import framework_mend
from procession.pickling.tracebacks import without_us
from procession.system.interrupts import strikes
from procession.system.limits import mend

_MISSING = r"\(\) missing \d+ required positional arguments?: (.+)"
_NO_TERMINAL = "EOF when reading a line"


def error_of(item: Item, reply: Reply, rules: Rules) -> BaseException:
    """The exception that an item raised, as itself, with a note that names function and item."""
    if reply.raw:
        error: BaseException = reply.payload
    else:
        from procession.worker.failures import globals_note

        error = load_exception(reply.payload)
        note = globals_note(reply.payload)
        if note:
            add_note(error, note)
    if isinstance(error, NotPicklable) and error.where == "argument" and not reply.raw:
        located = _located(error, item, rules)
        if located is not error:
            located.__notes__ = list(getattr(error, "__notes__", ()))
        error = located
    return noted(error, item, rules, here=reply.raw)


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


def noted(
    error: BaseException, item: Item, rules: Rules, *, here: bool = False, sent: bool = True
) -> BaseException:
    """Say in notes which function and item raised, and what can be done where that is known.

    Args:
        error: What the item raised.
        item: The item.
        rules: The name for the note, and the function's parameters.
        here: Whether it ran in this process.
        sent: Whether it was sent to a worker.
    """
    error = raisable(error, f"{rules.name}()")
    add_item_note(error, rules.name, None if rules.single else item.index, item.value, sent=sent)
    hint = _hint(error, item, rules, here=here)
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
        raise noted(error, item, rules, sent=not _is_refused(error))
    assert reply is not None
    if not reply.ok:
        raise error_of(item, reply, rules)
    if reply.raw:
        return reply.payload
    try:
        return open_value(reply.payload, reply.buffers)
    except MemoryError as exhausted:
        noted(exhausted, item, rules, here=True)
        raise
    except BaseException as broken:
        if strikes(broken):
            raise
        raise _unloadable(broken, item, rules, reply.payload) from broken


def _is_refused(error: BaseException) -> bool:
    """Whether the system has refused what an item needs to be sent: a process, a file, memory."""
    refused = isinstance(error, (OSError, MemoryError)) and not isinstance(error, ConnectionError)
    return refused and not isinstance(error, ProcessionError)


def outcome_of(settled: Settled, rules: Rules) -> Outcome[Any]:
    """The item's outcome, be it a value or an error.

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
        failure = error.with_traceback(without_us(error.__traceback__))
        return Outcome(item.index, item.value, None, failure, item.attempt, seconds)
    return Outcome(item.index, item.value, value, None, item.attempt, seconds)


def _unloadable(error: BaseException, item: Item, rules: Rules, blob: Any) -> BaseException:
    from procession.explaining.unloadable import explain_unloadable

    refusal = explain_unloadable(
        error, where="result", function=rules.name, root="result", blob=blob
    )
    add_item_note(refusal, rules.name, None if rules.single else item.index, item.value)
    return refusal


# -- notes on what to do ------------------------------------------------------------------------


def _hint(error: BaseException, item: Item, rules: Rules, *, here: bool) -> str:
    """A sentence for a note on what to do about an error; nothing for most errors."""
    if isinstance(error, TypeError):
        return _arguments(text_of(error), item, rules)
    if isinstance(error, (OSError, MemoryError)):
        return mend(error)
    if here:
        return ""
    kind = type(error).__name__
    if kind == "BdbQuit" or (kind == "EOFError" and text_of(error) == _NO_TERMINAL):
        return (
            "A worker has no terminal, so a debugger and input() find their input at its end. Set "
            "PROCESSION_BACKEND=serial in the environment and run the program again: every call "
            "is then made in this process, where breakpoint() works."
        )
    if kind == "PicklingError" and "__main__" in text_of(error):
        return (
            "This function itself gives something to another process, as a Pool of "
            "multiprocessing or a DataLoader with workers does. It goes by its name there, and a "
            "worker has no script to find it in. Move it to a module that can be imported."
        )
    return framework_mend(error)


def _arguments(message: str, item: Item, rules: Rules) -> str:
    """Tuples that were given to `map` as one argument each, or single items to `starmap`."""
    if rules.single:
        return ""
    if "after * must be an iterable" in message:
        return (
            f"starmap() takes tuples of arguments. For one argument each write "
            f"{rules.name}.map(items)."
        )
    import re

    found = re.search(_MISSING, message)
    value: Any = item.value
    if found is None or not isinstance(value, (tuple, list)):
        return ""
    size, kind = len(cast("Sized", value)), "tuple" if isinstance(value, tuple) else "list"
    # The first parameter got the whole tuple, and its other elements' are missing.
    missing = re.findall(r"'(\w+)'", found[1])
    if size == 1 + len(missing) and tuple(missing) == rules.names[1:size]:
        return (
            f"Each item is one argument, and this one is a {kind} of {size}. To take it apart "
            f"write {rules.name}.starmap(items)."
        )
    return ""
