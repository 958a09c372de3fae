"""`@background`: a call starts at once in another process, and its result is taken later.

python examples/background_calls.py
"""

import asyncio
import hashlib

from procession import as_completed, background, gather


@background
def derive_key(password: str, rounds: int) -> str:
    """Slow on purpose: a password's key."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", rounds).hex()[:16]


@background
def count_primes(limit: int) -> int:
    """Sieve of Eratosthenes."""
    sieve = bytearray([1]) * limit
    sieve[:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
    return sum(sieve)


# Two calls of different types, both running while this process goes on.
key, primes = gather(derive_key("correct horse", 200_000), count_primes(2_000_000))
print(f"key {key}, {primes:,} primes below 2,000,000")

# Several at once, taken as they are ready.
futures = {count_primes(limit): limit for limit in (4_000_000, 1_000, 100_000)}
for future in as_completed(futures):
    print(f"{future.result():,} primes below {futures[future]:,}")


# The same futures can be awaited.
async def main() -> None:
    print("awaited:", await derive_key("battery staple", 100_000))


asyncio.run(main())
