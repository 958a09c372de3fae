"""What all runs of pytest share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pytest_plugin.harness import cool


@pytest.fixture(autouse=True, scope="module")
def _cool() -> Iterator[None]:
    """No warm pytest outlives a module."""
    yield
    cool()
