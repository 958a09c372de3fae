"""A module whose globals a program sets at run time."""

from __future__ import annotations

from typing import Any

from procession import parallel
from tests.conformance import also_set

DATA: Any = None
TABLE: dict[str, int] = {}
LIMIT = 3
UNUSED: Any = None


@parallel(inline=False)
def score(x: int) -> Any:
    """Needs what is set at run time."""
    return DATA[x]


@parallel(inline=False)
def look_up(name: str) -> int:
    """Needs it by way of a helper."""
    return _find(name)


def _find(name: str) -> int:
    return TABLE[name]


@parallel(inline=False)
def missing(x: int) -> Any:
    """Needs a global that is only made at run time."""
    return LATER[x]  # type: ignore[name-defined]  # noqa: F821


@parallel(inline=False)
def of_another(x: int) -> Any:
    """Needs a global of another module."""
    return also_set.MODEL.predict(x)


@parallel(inline=False)
def over_the_limit(x: int) -> int:
    """Fails by a number that was changed."""
    if x > LIMIT:
        raise ValueError(x)
    return x


@parallel(inline=False)
def fails(x: int) -> int:
    """Fails for no such reason."""
    raise ValueError(x, UNUSED, DATA)
