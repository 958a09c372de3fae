"""`outcomes`: one result or error per item, in order; a bad item fails alone.

python examples/one_bad_item.py
"""

import math
import os

from procession import parallel


@parallel(workers=2, timeout=2.0, retries=1)
def digits(number: int) -> int:
    """How many decimal digits has the factorial of a number?"""
    if number == 13:
        os._exit(13)  # takes its process with it, as a crash in a C library would
    if number == 666:
        while True:  # never comes back
            pass
    return int(math.lgamma(number + 1) / math.log(10)) + 1


for outcome in digits.outcomes([10, 100, -1, 13, 1000, 666, 10_000]):
    if outcome.ok:
        print(f"{outcome.item:>6}! has {outcome.value:,} digits")
    else:
        message = str(outcome.error).splitlines()[0]
        print(
            f"{outcome.item:>6}  {type(outcome.error).__name__} after "
            f"{outcome.attempts} attempt(s): {message}"
        )
