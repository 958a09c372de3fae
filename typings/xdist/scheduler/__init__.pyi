"""The part of pytest-xdist's scheduling that the tests use; it has annotations and no py.typed."""

from collections import OrderedDict

import pytest

from ..workermanage import WorkerController

class LoadFileScheduling:
    workqueue: OrderedDict[str, dict[str, bool]]
    assigned_work: dict[WorkerController, dict[str, dict[str, bool]]]
    def __init__(self, config: pytest.Config, log: object = None) -> None: ...
    @property
    def nodes(self) -> list[WorkerController]: ...
    def remove_node(self, node: WorkerController) -> str | None: ...
    def schedule(self) -> None: ...
    def _reschedule(self, node: WorkerController) -> None: ...
