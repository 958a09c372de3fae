"""Long and violent runs: `make soak`. What has settled runs with `make test` too."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent

SETTLED = {"test_cancelling.py", "test_crash_matrix.py", "test_hostile_tasks.py"}
"""Files that run with all tests, but for what they mark as soak themselves."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything else in this folder as a soak test."""
    for item in items:
        if HERE in item.path.parents and item.path.name not in SETTLED:
            item.add_marker(pytest.mark.soak)
