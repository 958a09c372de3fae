"""Monte Carlo with numpy: the same numbers for any number of workers, by `seed=`.

The area of a quarter of a circle, by random points. `seed=` seeds numpy's global generator before
each item from (seed, index). Code that makes generators of its own gives each item one: `spawn`.

    python examples/monte_carlo.py
"""

import math

import numpy as np

from procession import parallel

POINTS = 200_000


@parallel(seed=20)
def inside(points: int) -> int:
    """How many random points of the unit square lie in the circle."""
    x, y = np.random.random(points), np.random.random(points)
    return int(np.count_nonzero(x * x + y * y <= 1.0))


@parallel
def inside_with(rng: np.random.Generator, points: int) -> int:
    """The same, by a generator that is given."""
    x, y = rng.random(points), rng.random(points)
    return int(np.count_nonzero(x * x + y * y <= 1.0))


batches = [POINTS] * 20
one = inside.with_options(workers=1, inline=False).map(batches)
two = inside.with_options(workers=2, chunk=3).map(batches)
here = inside.with_options(backend="serial").map(batches)
assert one == two == here, "the numbers do not depend on where the items run"

estimate = 4 * sum(two) / sum(batches)
error = 4 * math.sqrt(math.pi / 4 * (1 - math.pi / 4) / sum(batches))
print(f"pi is about {estimate:.4f}, give or take {error:.4f}, with 1 worker, 2 workers or none")

generators = np.random.default_rng(20).spawn(len(batches))
spawned = 4 * sum(inside_with.map(generators, POINTS)) / sum(batches)
print(f"with a generator for each item: {spawned:.4f}")
assert abs(estimate - math.pi) < 6 * error
assert abs(spawned - math.pi) < 6 * error
