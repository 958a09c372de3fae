"""Notes on errors: which function raised it, and for which item; or what came before."""

from __future__ import annotations

from procession.errors import NotPicklable
from procession.hints import Any
from procession.pickling.objects import is_a, short_repr

IN_INITIALIZER = "raised by the initializer"
IN_SET_UP = "raised while a worker was set up, before its first item"
WHILE_LOADING = (
    "This happened in a worker, while it loaded the function or the arguments that go to "
    "every item."
)
BEFORE_ITEMS = IN_INITIALIZER, IN_SET_UP, WHILE_LOADING
"""Notes of errors that no item has raised."""


def add_note(exc: BaseException, note: str) -> None:
    """Add a note, once; also where ``add_note`` fails, as on frozen dataclasses."""
    notes: Any = exc.__dict__.setdefault("__notes__", [])
    if is_a(notes, list) and note not in notes:
        notes.append(note)


def add_item_note(
    exc: BaseException, function: str, index: int | None, item: Any, *, sent: bool = True
) -> None:
    """Note on an exception which function raised it, or could not run, and for which item.

    A single call has no index, and ``(args, kwargs)`` as its item. If it was not `sent`, the
    function could not run.
    """
    did = "was running" if sent and not _came_before(exc) else "could not run"
    if index is None:
        args, kwargs = item
        add_note(exc, f"{_written(function, args, kwargs)} {did}")
    else:
        add_note(exc, f"{function}() {did} item {index}: {short_repr(item)}")


def _came_before(exc: BaseException) -> bool:
    """Whether an error kept the function from being called, and no other that it called."""
    notes = notes_of(exc)
    if any("could not run" in str(note) for note in notes):
        return False
    if isinstance(exc, NotPicklable):
        return exc.where in ("argument", "function")
    return any(note in notes for note in BEFORE_ITEMS)


def notes_of(exc: BaseException) -> list[Any]:
    """The notes on an exception."""
    notes: Any = exc.__dict__.get("__notes__")
    return notes if is_a(notes, list) else []


def _written(function: str, args: Any, kwargs: Any) -> str:
    """A call as it is written in Python, cut to a line."""
    most = 4
    shown = [short_repr(arg) for arg in args[:most]]
    shown += [
        f"{name}={short_repr(value)}" for name, value in [*kwargs.items()][: most - len(shown)]
    ]
    if len(args) + len(kwargs) > len(shown):
        shown.append("...")
    inside = ", ".join(shown)
    return f"{function}({inside if len(inside) <= 80 else inside[:77] + '...'})"
