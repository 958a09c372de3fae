# mypy: ignore-errors
# ruff: noqa
"""Coroutines, by the plugins that run them."""

import asyncio
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.isolated


@pytest.mark.asyncio
async def test_asyncio():
    await asyncio.sleep(0)
    assert asyncio.get_running_loop()


@pytest.mark.skipif(find_spec("anyio") is None, reason="no anyio here")
@pytest.mark.anyio
async def test_anyio():
    await asyncio.sleep(0)


@pytest.fixture
def anyio_backend():
    return "asyncio"
