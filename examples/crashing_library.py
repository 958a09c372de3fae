"""A C library that crashes on some input, behind `@isolated`: each call has its own process.

The "library" is a function of ctypes that follows a pointer. What it is given may be anything.

    python examples/crashing_library.py
"""

import ctypes

from procession import TimedOut, WorkerDied, isolated


@isolated(timeout=20, memory_limit="500MB")
def c_string(address: int | None, text: bytes = b"") -> int:
    """The length of a C string: of a text, or of what lies at an address."""
    strlen = ctypes.CDLL(None).strlen
    strlen.argtypes = [ctypes.c_void_p]
    buffer = ctypes.create_string_buffer(text)
    length: int = strlen(ctypes.addressof(buffer) if address is None else address)
    return length


def ask(address: int | None, text: bytes = b"") -> str:
    """What a careful caller makes of it."""
    try:
        return f"{c_string(address, text)} letters"
    except WorkerDied as error:
        return f"the library crashed with {error.signal}, and this program did not"
    except TimedOut as error:
        return f"it took longer than {error.seconds} s"


print("text:     ", ask(None, b"procession"))
print("address 8:", ask(8))
print("text:     ", ask(None, b"still here"))

# Many calls at once: each outcome knows what came of its own.
addresses = [None, 8, None, 16]
print([outcome.ok for outcome in c_string.outcomes(addresses)])
