"""How a parser says that a value breaks its option's rule."""

from __future__ import annotations

__all__ = ["Refused", "refuse_type"]


class Refused(Exception):
    """A value breaks its option's rule; says the rule and what to write instead."""


def refuse_type(value: object, rule: str, instead: str) -> Refused:
    """What to raise for a value of the wrong type."""
    article = "an" if type(value).__name__[0] in "aeioAEIO" else "a"
    return Refused(f"{rule}, and this is {article} {type(value).__name__}. {instead}")
