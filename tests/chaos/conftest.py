"""Long and violent runs: `make soak`, not `make test`."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder as a soak test."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.soak)
