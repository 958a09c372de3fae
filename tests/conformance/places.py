"""Where the conformance suite runs: every backend with every start context it supports."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from procession.configuration import OptionValues

WORKERS = 2


class Place(NamedTuple):
    """One backend, with one start context (`None`: its own default)."""

    backend: str
    context: str | None = None

    def __str__(self) -> str:
        return f"{self.backend}-{self.context}" if self.context else self.backend

    @property
    def has_processes(self) -> bool:
        """Whether items run in other processes."""
        return self.backend not in ("thread", "serial")

    @property
    def is_concurrent(self) -> bool:
        """Whether two items can run at once."""
        return self.backend != "serial"

    @property
    def options(self) -> OptionValues:
        """The place as options."""
        options: OptionValues = {"backend": self.backend, "workers": WORKERS}
        if self.context is not None:
            options["context"] = self.context
        return options


PROCESSES = (
    Place("process", "fork"),
    Place("process", "spawn"),
    Place("process", "forkserver"),
    Place("process", "loky"),
    Place("loky"),
    Place("loky", "spawn"),
    Place("stdlib", "fork"),
    Place("stdlib", "spawn"),
    Place("stdlib", "forkserver"),
)
"""Places whose items run in other processes."""

PLACES = (*PROCESSES, Place("thread"), Place("serial"))

F = TypeVar("F")


def at(place: Place, function: F, **more: Any) -> F:
    """The decorated function, running at a place."""
    decorated: Any = function
    options: dict[str, Any] = {**place.options, **more}
    if place.backend == "serial":
        options.pop("workers")
    moved: F = decorated.with_options(**options)
    return moved
