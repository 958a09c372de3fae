"""How xdist deals out the test files: as its own does, and a process that dies loses one test.

pytest-xdist 3.8 deals what a dead process had finished out once more, as orders of no test, and
waits for ever (its issues 1323, 1327, 1378): one test that reached its time limit, and no end.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController


class FileScheduling(LoadFileScheduling):
    """Files in their order; what a dead process has not run is given to others."""

    def remove_node(self, node: WorkerController) -> str | None:
        """Take back what a process has not run; the test in which it died counts as run."""
        running = None
        for name, tests in self.assigned_work.pop(node).items():
            left = [test for test, done in tests.items() if not done]
            if left and running is None:
                running = left.pop(0)
            if left:
                self.workqueue[name] = dict.fromkeys(left, False)
        if running is not None:
            self._deal()
        return running

    def schedule(self) -> None:
        """Deal, and once more: a process begins its last test when it knows what follows it."""
        super().schedule()
        self._deal()

    def _deal(self) -> None:
        for node in self.nodes:
            self._reschedule(node)
