"""Options that an operator sets from outside: ``PROCESSION_<OPTION>`` in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from procession.configuration.parsers import OPTIONS
from procession.configuration.validation import ALIASES, parse_option
from procession.errors import OptionError, warn_user
from procession.hints import Any
from procession.system import cpython

PREFIX = "PROCESSION_"

_WORDS = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


def _size(text: str) -> Any:
    return int(text) if text.isdecimal() else text


def _count_or_auto(text: str) -> Any:
    return text if text == "auto" else int(text)


def _word_or_auto(text: str) -> Any:
    return _WORDS.get(text.lower(), text)


TEXT_FORMS: Mapping[str, Callable[[str], Any]] = {
    "workers": int,
    "backend": str,
    "address": str,
    "context": str,
    "chunk": _count_or_auto,
    "window": int,
    "inline": _word_or_auto,
    "timeout": float,
    "deadline": float,
    "max_pending": int,
    "retries": int,
    "retry_delay": float,
    "memory_limit": _size,
    "max_tasks_per_worker": int,
    "threads_per_worker": int,
    "seed": int,
    "pickling": str,
    "progress": _word_or_auto,
    "nested": str,
    "forward_logs": _word_or_auto,
}
"""Options that can be written in the environment, with what turns text into their value."""

_LIFTED = frozenset(
    {
        *("workers", "address", "context", "window", "timeout", "deadline", "max_pending"),
        "memory_limit",
        *("max_tasks_per_worker", "threads_per_worker", "seed"),
    }
)
"""Options for which ``none`` takes away what the code has set."""

_NAMES = tuple(PREFIX + option.upper() for option in TEXT_FORMS)


_KEYS = _NAMES if cpython.environment is None else tuple(map(cpython.variable, _NAMES))


_looked: tuple[Any, tuple[Any, ...]] = None, ()


def snapshot() -> tuple[Any, ...]:
    """What the variables hold now, raw; equal as long as nothing changed.

    To compare the whole environment takes half as long as to look for each of them.
    """
    global _looked
    variables: Any = os.environ if cpython.environment is None else cpython.environment
    seen, found = _looked
    if seen is not None and variables == seen:
        return found
    get: Callable[[Any], Any] = variables.get
    found = tuple(map(get, _KEYS))
    _looked = dict(variables), found
    return found


def overrides() -> dict[str, Any]:
    """Read the options that the environment sets. An empty variable sets nothing.

    Raises:
        OptionError: A variable's text is no value of its option; names the variable.
    """
    found: dict[str, Any] = {}
    for name, (option, convert) in zip(_NAMES, TEXT_FORMS.items(), strict=True):
        text = os.environ.get(name, "").strip()
        if not text:
            continue
        if text.lower() == "none" and option in _LIFTED:
            found[option] = None
            continue
        try:
            value = convert(text)
        except ValueError:
            value = text  # The option's own parser says what is wrong with it.
        found[option] = _parsed(option, value, name, text)
    return found


def _parsed(option: str, value: Any, name: str, text: str) -> Any:
    try:
        return parse_option(option, value, f"{name}={text}")
    except OptionError as error:
        raise OptionError(f"{error} It is the environment variable {name} that is wrong.") from None


def warn_of_strangers() -> None:
    """Warn of variables that look like an option of ours and set none."""
    for name in os.environ:
        if not name.startswith(PREFIX) or name in _NAMES:
            continue
        import difflib

        option = name[len(PREFIX) :].lower()
        if option in OPTIONS:
            warn_user(
                f"{name} has no effect: {option} cannot be written as text. "
                f"Write procession.configure({option}=...) in the program."
            )
            continue
        near = ALIASES.get(option) or next(
            iter(difflib.get_close_matches(option, TEXT_FORMS, 1, 0.75)), None
        )
        if near is not None and near in TEXT_FORMS:
            warn_user(
                f"{name} has no effect: there is no option {option!r}. "
                f"Write {PREFIX}{near.upper()}={os.environ[name]}."
            )
