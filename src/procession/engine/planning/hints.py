"""What to do about an error that an item raised, where the error alone does not say it."""

from __future__ import annotations

import re
from collections.abc import Sized
from typing import Any, cast

from procession.contract import Item
from procession.engine.policy.blame import Rules
from procession.explaining.frameworks import DJANGO_ERRORS, DJANGO_MEND
from procession.system.limits import mend

__all__ = ["hint_for"]

_MISSING = re.compile(r"\(\) missing \d+ required positional arguments?: (.+)")
_NO_TERMINAL = "EOF when reading a line"


def hint_for(error: BaseException, item: Item, rules: Rules, *, here: bool) -> str:
    """A sentence for a note; nothing for most errors.

    Args:
        error: What the item raised.
        item: The item.
        rules: The function's name and parameters.
        here: Whether it ran in this process.
    """
    if isinstance(error, TypeError):
        return _arguments(str(error), item, rules)
    if isinstance(error, (OSError, MemoryError)):
        return mend(error)
    if here:
        return ""
    kind = type(error).__name__
    if kind == "BdbQuit" or (kind == "EOFError" and str(error) == _NO_TERMINAL):
        return (
            "A worker has no terminal, so a debugger and input() find their input at its end. Set "
            "PROCESSION_BACKEND=serial in the environment and run the program again: every call "
            "is then made in this process, where breakpoint() works."
        )
    return DJANGO_MEND if kind in DJANGO_ERRORS else ""


def _arguments(message: str, item: Item, rules: Rules) -> str:
    """Tuples that were given to `map` as one argument each, or single items to `starmap`."""
    if rules.single:
        return ""
    if "after * must be an iterable" in message:
        return (
            f"starmap() takes tuples of arguments. For one argument each write "
            f"{rules.name}.map(items)."
        )
    found = _MISSING.search(message)
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
