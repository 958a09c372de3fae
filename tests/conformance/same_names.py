"""Functions and classes with the names of `shapes`, that do something else."""

from __future__ import annotations

from procession import parallel


class Base:
    """Not the other module's."""

    @parallel
    def times(self, x: int) -> str:
        """Not the other module's."""
        return f"same name {x}"


@parallel
def factorial(x: int) -> str:
    """Not the other module's."""
    return f"no factorial of {x}"
