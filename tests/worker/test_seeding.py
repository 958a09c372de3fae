"""Random numbers per item, and streams that nobody shares."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy
import pytest

from procession.worker.seeding import item_seed, preserve, reseed, seeded

GENERATORS: Any = numpy.random
"""Stubs of some releases leave out the functions that exchange the global generator."""


def draw() -> tuple[float, float, float]:
    """Numbers from both global generators."""
    return random.random(), numpy.random.random(), numpy.random.normal()


@pytest.fixture
def _generators() -> Iterator[None]:
    """The generators as they were, for tests that exchange them."""
    generator = GENERATORS.get_bit_generator()
    yield
    GENERATORS.set_bit_generator(generator)


def test_item_seed_is_the_same_everywhere() -> None:
    """The numbers are fixed for ever: results of a seed must not change with a release."""
    assert (
        f"{item_seed(0, 0):064x}"
        == "d0e2529708fd7f538e4c6291a4478a5825da0f6a017db5795f3494679ca59659"
    )
    assert (
        f"{item_seed(42, 7):064x}"
        == "38aa1926630ff3a6814f5ed3148a1c289c38aefd97547847f24636bcdb9e68ef"
    )


def test_item_seeds_do_not_meet() -> None:
    """Neighbouring seeds and indices share no number, as sums would."""
    numbers = {item_seed(seed, index) for seed in range(-20, 20) for index in range(40)}
    assert len(numbers) == 40 * 40


def test_same_seed_and_index_draw_the_same() -> None:
    """An item's numbers depend on (seed, index) alone."""
    with seeded(1, 5):
        first = draw()
    draw()
    with seeded(1, 5):
        assert draw() == first
    with seeded(1, 6):
        assert draw() != first
    with seeded(2, 5):
        assert draw() != first


def test_random_and_numpy_do_not_draw_the_same() -> None:
    """Both are Mersenne Twisters; seeded alike they would be one stream."""
    with seeded(1, 5):
        assert random.random() != numpy.random.random()


def test_generators_are_put_back() -> None:
    """What a worker draws after a seeded item goes on where it was before."""
    before = random.getstate(), numpy.random.get_state(legacy=False)
    with seeded(3, 0):
        draw()
    assert random.getstate() == before[0]
    numpy.testing.assert_equal(numpy.random.get_state(legacy=False)["state"], before[1]["state"])


def test_generators_are_put_back_after_an_error() -> None:
    """An item that raises leaves no trace either."""
    before = random.getstate()
    with pytest.raises(ZeroDivisionError), seeded(3, 0):
        random.random()
        raise ZeroDivisionError
    assert random.getstate() == before


def test_preserve_keeps_even_the_spare_normal() -> None:
    """An inline run leaves the caller's generators exactly as they were."""
    numpy.random.normal()
    before = numpy.random.get_state(legacy=False)
    with preserve(), seeded(3, 0):
        draw()
    numpy.testing.assert_equal(numpy.random.get_state(legacy=False), before)


@pytest.mark.usefixtures("_generators")
def test_another_bit_generator_is_kept() -> None:
    """A caller who set another generator gets the documented numbers, and his own back."""
    with seeded(1, 5):
        expected = draw()
    theirs = numpy.random.PCG64(1)
    GENERATORS.set_bit_generator(theirs)
    before = theirs.state
    with preserve(), seeded(1, 5):
        assert draw() == expected
    assert GENERATORS.get_bit_generator() is theirs
    assert theirs.state == before


def test_nested_items_do_not_disturb_each_other() -> None:
    """A seeded call inside a seeded item leaves the outer item's numbers alone."""
    with seeded(1, 0):
        expected = draw(), draw()
    with seeded(1, 0):
        first = draw()
        with seeded(1, 1):
            draw()
        assert (first[:2], draw()[:2]) == (expected[0][:2], expected[1][:2])


def test_items_in_one_process_run_one_after_another() -> None:
    """Threads that share the generators still draw each their own numbers."""
    expected = []
    for index in range(4):
        with seeded(9, index):
            expected.append([random.random() for _ in range(2000)])
    found: dict[int, list[float]] = {}

    def item(index: int) -> None:
        with preserve(), seeded(9, index):
            found[index] = [random.random() for _ in range(2000)]

    threads = [threading.Thread(target=item, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(4)] == expected


FIRST_IMPORT = """
import sys
from procession.worker.seeding import seeded
finders = list(sys.meta_path)
if {early}:
    import numpy.random
with seeded(1, 5):
    import numpy
    print(repr(float(numpy.random.random())))
with seeded(1, 6):
    print(repr(float(numpy.random.random())))
assert not any(f.awaited for f in sys.meta_path if type(f).__module__.startswith("procession"))
loader = sys.modules["numpy.random.mtrand"].__spec__.loader
assert type(loader).__name__ == "ExtensionFileLoader", loader
outside = numpy.random.random()
with seeded(1, 5):
    assert numpy.random.random() != outside
"""


def test_importing_numpy_in_an_item_changes_nothing() -> None:
    """The item that imports numpy first draws the numbers that it would draw anyway."""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", FIRST_IMPORT.format(early=early)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.split()
        for early in (True, False)
    ]
    assert outputs[0] == outputs[1]
    with seeded(1, 5):
        assert outputs[0][0] == repr(float(numpy.random.random()))


def _forked(pipe: Connection) -> None:
    reseed(forked=True)
    pipe.send((random.random(), float(numpy.random.random())))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("generator", [numpy.random.MT19937, numpy.random.PCG64])
@pytest.mark.usefixtures("_generators")
def test_forked_workers_share_no_stream(generator: type[numpy.random.BitGenerator]) -> None:
    """After a fork each worker draws numbers of its own, from either generator."""
    GENERATORS.set_bit_generator(generator(0))
    fork = multiprocessing.get_context("fork")
    drawn = []
    for _ in range(3):
        here, there = fork.Pipe()
        process = fork.Process(target=_forked, args=(there,))
        process.start()
        assert here.poll(30)
        drawn.append(here.recv())
        process.join()
        here.close()
        there.close()
    assert len({numbers[0] for numbers in drawn}) == 3
    assert len({numbers[1] for numbers in drawn}) == 3
