"""What a fresh installation must do: a call of each kind, the command line, types, one version."""

import os
import subprocess
import sys
from importlib.metadata import entry_points, files, version

import procession
from procession import Pool, background, isolated, parallel, parallel_chunks, parallel_map, shared


def square(number: int) -> int:
    """What the workers do."""
    if number == 13:
        os._exit(1)
    return number * number


def doubled(numbers: list[int]) -> list[int]:
    """A function of a whole list."""
    return [2 * number for number in numbers]


def main() -> None:
    """Try it all; an assertion fails, or nothing is said."""
    assert "site-packages" in procession.__file__, procession.__file__
    assert procession.__version__ == version("procession")
    assert any(str(each) == "procession/py.typed" for each in files("procession") or ())
    assert "procession" in entry_points(group="pytest11").names
    for backend in ("process", "loky", "stdlib", "thread", "serial"):
        squares = parallel(backend=backend, workers=2)(square)
        assert squares.map(range(5)) == [0, 1, 4, 9, 16], backend
        assert squares.submit(3).result(60) == 9, backend
    alone = parallel(workers=2, inline=False)(square)
    assert [each.ok for each in alone.outcomes([12, 13, 14])] == [True, False, True]
    assert isolated(timeout=60)(square)(4) == 16
    assert background(square)(5).result(60) == 25
    assert parallel_map(square)([6]) == [36]
    assert parallel_chunks(doubled)([3, 1, 2]) == [6, 2, 4]
    assert parallel(inline=False, workers=1)(sum).map([shared.put((1, 2))]) == [3]
    with Pool(2) as pool:
        assert list(pool.map(square, range(3))) == [0, 1, 4]
    command = os.path.join(os.path.dirname(sys.executable), "procession")
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["procession", procession.__version__]


main()
