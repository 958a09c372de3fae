"""procession.testing, the fixtures, and pytest's options that switch the same things."""

from __future__ import annotations

import asyncio
import os
import threading
import unittest
from pathlib import Path

import pytest

import procession
from procession import background, isolated, parallel_map, testing
from tests.pytest_plugin.harness import run

ITEMS = [1, 2, 3]


@parallel_map(inline=False)
def where(_: int) -> int:
    """The process an item runs in."""
    return os.getpid()


@isolated(timeout=60)
def alone() -> int:
    """The process a call runs in."""
    return os.getpid()


@background
def later() -> int:
    """The process a call runs in."""
    return os.getpid()


@parallel_map
def same(item: object) -> object:
    """What it was given."""
    return item


@parallel_map
def lock(_: object) -> object:
    """What cannot cross back."""
    return threading.Lock()


def test_inline_runs_everything_here() -> None:
    """inline(): maps, calls, background calls and generators run in this process."""
    here = os.getpid()
    with testing.inline():
        assert where(ITEMS) == [here] * 3
        assert list(where.imap(ITEMS)) == [here] * 3
        assert where.submit(1).result() == here
        assert later().result() == here


def test_inline_drops_limits_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    """inline(): a timeout does not hold, and nobody is warned of what they asked for."""
    with testing.inline():
        assert alone() == os.getpid()
    assert not recwarn.list


def test_inline_ends() -> None:
    """inline() holds for its block, nests, and is undone by an error."""
    with pytest.raises(ZeroDivisionError), testing.inline(), testing.inline():
        _ = 1 / 0
    assert "PROCESSION_BACKEND" not in os.environ


@testing.inline()
def test_inline_decorates() -> None:
    """inline() decorates a function."""
    assert alone() == os.getpid()


def test_inline_decorates_async_functions() -> None:
    """inline() holds while an async function runs, not only while it is made."""

    @testing.inline()
    async def main() -> int:
        await asyncio.sleep(0)
        return alone()

    assert asyncio.run(main()) == os.getpid()


def test_inline_refuses_classes() -> None:
    """A class is refused, with what to write instead."""

    class TestReports(unittest.TestCase):
        pass

    with pytest.raises(TypeError, match=r"self\.enterContext\(procession\.testing\.inline\(\)\)"):
        testing.inline()(TestReports)


class TestUnittest(unittest.TestCase):
    """inline() in a unittest."""

    def setUp(self) -> None:
        """Switch."""
        self.enterContext(testing.inline())

    def test_here(self) -> None:
        """inline() works by enterContext."""
        assert alone() == os.getpid()


def test_strict_copies() -> None:
    """strict(): an item that runs here is a copy, as it would be in a worker."""
    item = {"a": 1}
    with testing.inline():
        assert same([item])[0] is item
        with testing.strict():
            (copy,) = same([item])
        assert copy == item
        assert copy is not item
        assert same([item])[0] is item


def test_strict_refuses() -> None:
    """strict(): what cannot cross is refused here, both ways."""
    with testing.strict(), pytest.raises(procession.NotPicklable) as argument:
        same([threading.Lock()])
    with testing.inline(), testing.strict(), pytest.raises(procession.NotPicklable) as result:
        lock([1])
    assert argument.value.where == "argument"
    assert result.value.where == "result"


def test_fixture_inline(procession_inline: None) -> None:
    """The fixture procession_inline is inline()."""
    assert alone() == os.getpid()


def test_fixture_strict(procession_inline: None, procession_strict: None) -> None:
    """The fixture procession_strict is strict()."""
    item = {"a": 1}
    assert same([item])[0] is not item


SWITCHED = """
import os
from procession import configuration, isolated, parallel_map

@isolated
def alone():
    return os.getpid()

@parallel_map
def same(item):
    return item

def test_one():
    item = [1]
    assert alone() == os.getpid()
    assert same([item])[0] is not item
    assert configuration.resolve().workers == 3
"""


def test_command_line(tmp_path: Path) -> None:
    """--procession-backend, --procession-workers and --procession-strict hold for the session."""
    (tmp_path / "test_it.py").write_text(SWITCHED)
    options = ["--procession-backend=serial", "--procession-workers=3", "--procession-strict"]
    assert run(tmp_path, *options).counts == {"passed": 1}


@pytest.mark.parametrize("option", ["--procession-backend=none", "--procession-workers=many"])
def test_command_line_refuses(tmp_path: Path, option: str) -> None:
    """A wrong value is a usage error that repeats it."""
    (tmp_path / "test_it.py").write_text("def test_one(): pass")
    result = run(tmp_path, option)
    assert result.code == pytest.ExitCode.USAGE_ERROR
    assert option in result.err
