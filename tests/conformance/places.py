"""Where the conformance suite runs: every backend with every start context it supports.

Clusters have a run of their own (`make test-clusters`), as the suite there takes minutes more.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from procession.configuration import OptionValues
from tests.support.asked import asked_for

WORKERS = 2


class Place(NamedTuple):
    """One backend, with one start context (`None`: its own default)."""

    backend: str
    context: str | None = None
    cluster: str = ""

    def __str__(self) -> str:
        if self.cluster:
            return self.cluster
        return f"{self.backend}-{self.context}" if self.context else self.backend

    @property
    def has_processes(self) -> bool:
        """Whether items run in other processes."""
        return self.backend not in ("thread", "serial")

    @property
    def knows_the_guilty(self) -> bool:
        """Whether it is known at once which item has killed its worker."""
        return self.backend not in ("loky", "stdlib")

    @property
    def is_concurrent(self) -> bool:
        """Whether two items can run at once."""
        return self.backend != "serial"

    @property
    def options(self) -> OptionValues:
        """The place as options."""
        options: OptionValues = {"backend": self.backend, "workers": WORKERS}
        if self.cluster:
            options["address"] = ADDRESSES[self.cluster]
        if self.context is not None:
            options["context"] = self.context
        return options


ADDRESSES: dict[str, str | None] = {}
"""Of the clusters that this run has started; `None` for one that Procession starts itself."""

_LOCAL = (
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
_FAR = tuple([Place(name.partition("-")[0], cluster=name) for name in asked_for()])

PROCESSES = _FAR or _LOCAL
"""Places whose items run in other processes."""

PLACES = _FAR or (*_LOCAL, Place("thread"), Place("serial"))

F = TypeVar("F")


def at(place: Place, function: F, **more: Any) -> F:
    """The decorated function, running at a place."""
    decorated: Any = function
    options: dict[str, Any] = {**place.options, **more}
    if place.backend == "serial":
        options.pop("workers")
    moved: F = decorated.with_options(**options)
    return moved
