"""Checks options one by one: names, types, ranges, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from procession.configuration.aliases import no_such_option, short
from procession.configuration.compatibility import conflicts
from procession.configuration.parsers import OPTIONS
from procession.configuration.refusal import Refused
from procession.errors import OptionError

__all__ = ["parse_option", "validate"]


def validate(
    values: Mapping[str, Any],
    *,
    caller: str,
    decorator: str = "",
    over: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Check options as a person wrote them.

    Args:
        values: The options by name.
        caller: Who was given them, for messages: ``"parallel_map"``, ``"with_options"``, ….
        decorator: The decorator of the function they are for, if it is known and is not the
            caller. Only ``"parallel_chunks"`` has a `combine`.
        over: Options of the same function that `values` are laid over.

    Returns:
        The same options with their values in one form: sizes in bytes, seconds as floats,
        `retry_on` and `initargs` as tuples.

    Raises:
        OptionError: An unknown name, a wrong type, a value out of range, or two options that
            cannot both be.
    """
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in OPTIONS:
            raise no_such_option(caller, name, value, OPTIONS)
        if name == "combine" and "parallel_chunks" not in (caller, decorator):
            raise OptionError(
                f"{caller}(combine={short(value)}): only @parallel_chunks joins pieces, so only it "
                "has combine. Leave it out, and join the list of results yourself."
            )
        parsed[name] = parse_option(name, value, f"{caller}({name}={short(value)})")
    merged = {**(over or {}), **parsed}
    for conflict in conflicts(merged):
        if conflict.local and not (conflict.option in parsed and conflict.other in parsed):
            continue
        raise OptionError(
            f"{caller}({_shown(merged, conflict.option, conflict.other)}): {conflict.message}"
        )
    return parsed


def parse_option(name: str, value: Any, subject: str) -> Any:
    """Check one option's value and give it in its one form.

    Args:
        name: A name in `OPTIONS`.
        value: What was given for it.
        subject: How the message begins: what was written, and where.

    Raises:
        OptionError: The value breaks the option's rule.
    """
    try:
        return OPTIONS[name](value)
    except Refused as refused:
        raise OptionError(f"{subject}: {refused}") from None


def _shown(values: Mapping[str, Any], *names: str) -> str:
    return ", ".join(f"{name}={short(values[name])}" for name in names if name in values)
