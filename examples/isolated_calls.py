"""`@isolated`: a call that crashes, hangs or takes all memory ends alone.

python examples/isolated_calls.py
"""

import ctypes
from collections.abc import Iterator

from procession import TimedOut, WorkerDied, isolated


@isolated
def read_address(address: int) -> bytes:
    """What a bug in a C extension does: read memory that is not ours."""
    return ctypes.string_at(address, 1)


@isolated(timeout=0.5)
def collatz_steps(number: int) -> int:
    """How many steps from a number to 1 (for ever, if the number is not positive)."""
    steps = 0
    while number != 1:
        number = 3 * number + 1 if number % 2 else number // 2
        steps += 1
    return steps


@isolated
def primes() -> Iterator[int]:
    """A generator runs in its own process, too; values stream as they are found."""
    number = 2
    while True:
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            yield number
        number += 1


try:
    read_address(1)
except WorkerDied as error:
    print(f"the crash ended one process, not this one: {error.signal}")

print(f"27 takes {collatz_steps(27)} steps")
try:
    collatz_steps(-1)
except TimedOut as error:
    print(f"-1 was ended after {error.seconds} s")

stream = primes()
print("the first primes:", [next(stream) for _ in range(8)])
