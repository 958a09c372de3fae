"""Settings of libraries made in the program: warned of, or set in workers by an initializer."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

import procession
from procession import Pool, parallel
from procession.backends import pool_factory
from procession.errors import ParallelWarning

pytestmark = pytest.mark.skipif(
    find_spec("pandas") is None or find_spec("sklearn") is None, reason="needs both"
)


def settings() -> None:
    """What the page "What a worker sees" shows."""
    import pandas as pd
    import sklearn

    pd.set_option("mode.string_storage", "python")
    sklearn.set_config(transform_output="pandas")


@parallel(workers=1, inline=False)
def look(_: int) -> tuple[Any, Any]:
    """What is set here."""
    import pandas as pd
    import sklearn

    return sklearn.get_config()["transform_output"], pd.get_option("mode.string_storage")


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is set, and nothing was said."""
    monkeypatch.setattr(pool_factory, "_said", set())
    yield
    import pandas as pd
    import sklearn

    sklearn.set_config(transform_output="default")
    pd.reset_option("mode.string_storage")
    procession.shutdown()


def test_an_initializer_sets_them() -> None:
    """The page's snippet: workers see what the program has set, and nobody is warned."""
    settings()
    assert look.with_options(initializer=settings).map([1]) == [("pandas", "python")]


def test_a_warning_names_library_and_setting() -> None:
    """Once for each library, when a pool is made without an initializer."""
    settings()
    with pytest.warns(ParallelWarning) as warned:
        assert look.map([1]) == [("default", "auto")]
    texts = [str(each.message) for each in warned]
    assert len(texts) == 2
    assert texts[0].startswith("scikit-learn's transform_output='pandas' was set in this process")
    assert "pandas' option mode.string_storage" in texts[1]
    assert all("initializer=" in text for text in texts)
    procession.shutdown()
    assert look.map([1]) == [("default", "auto")]
    with Pool(1) as pool:
        assert pool.submit(abs, -1).result() == 1


def test_looks_are_no_matter() -> None:
    """How something is shown changes no result."""
    import pandas as pd

    with pd.option_context("display.precision", 3):
        assert look.map([1]) == [("default", "auto")]
