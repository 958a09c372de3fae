"""What `help` shows of the public names can be read."""

from __future__ import annotations

import pydoc
import re
from typing import Any

import pytest

import procession

PLAIN: Any = vars(pydoc)["plaintext"]  # not in the types of pydoc
DECORATORS = ["parallel", "parallel_map", "parallel_chunks", "background", "isolated"]


@pytest.mark.parametrize("name", DECORATORS)
def test_help_of_a_decorator(name: str) -> None:
    """Its signature has no quoted types and no object's address."""
    text = pydoc.render_doc(getattr(procession, name), renderer=PLAIN)

    signature = text.splitlines()[2]
    assert signature == f"{name}(function=..., /, *extra, **options)"


@pytest.mark.parametrize("name", procession.__all__)
def test_help_shows_no_address(name: str) -> None:
    """Nothing public has an object's address in its help."""
    text = pydoc.render_doc(getattr(procession, name), renderer=PLAIN)

    assert not re.search(r"object at 0x", text)


def test_help_of_a_decorated_function() -> None:
    """It is the function's own."""

    @procession.parallel(workers=2)
    def halve(number: float) -> float:
        """Half of it."""
        return number / 2

    text = pydoc.render_doc(halve, renderer=PLAIN)
    assert "halve(number" in text
    assert "Half of it." in text
