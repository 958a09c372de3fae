"""Functions that hash: they give one thing here and another in a worker.

`hash` of a str depends on a seed, which this process cannot change any more (see
`process.start.hash_seed`). Workers agree with each other, so the items of such a function all go
there.
"""

from __future__ import annotations

from types import CodeType

from procession._warn import warn_user
from procession.engine.call import Call
from procession.hints import Any
from procession.system.bytecode import codes, instructions

__all__ = ["hashes_otherwise"]


def hashes_otherwise(call: Call) -> bool:
    """Whether the function hashes, and a worker hashes otherwise than this process.

    The first time this is so, a `ParallelWarning` says what it means.
    """
    pace = call.pace
    if pace is None:
        return _hashes(call.function) and not _agrees()
    if pace.hashes is None:
        pace.hashes = _hashes(call.function) and not _agrees()
        if pace.hashes:
            _warn(call.name)
    return pace.hashes


def _agrees() -> bool:
    from procession.process.start.hash_seed import agrees
    from procession.process.start.starting import default_method

    return agrees() or default_method() == "fork"


def _hashes(function: Any) -> bool:
    for _ in range(20):  # a partial of a partial of a method …; never a cycle
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            space = getattr(function, "__globals__", {})
            return space.get("hash", hash) is hash and any(map(_names_hash, codes(code)))
        function = getattr(function, "__func__", None) or getattr(function, "func", None)
    return False


def _names_hash(code: CodeType) -> bool:
    """Whether the code loads the builtin, and no attribute of that name."""
    if "__hash__" in code.co_names:
        return True
    if "hash" not in code.co_names:
        return False
    place = code.co_names.index("hash")
    loads = ((op, arg) for _, op, arg in instructions(code))
    return any(
        (op == "LOAD_GLOBAL" and arg >> 1 == place) or (op == "LOAD_NAME" and arg == place)
        for op, arg in loads
    )


def _warn(name: str) -> None:
    warn_user(
        f"{name}() uses hash(), which gives another number in a worker than here, as Python "
        "chooses a seed for each program. So all of its items run in workers, which agree with "
        "each other, as inline=False has it: write that to say that you know. Start the program "
        "with PYTHONHASHSEED=0 to have one number everywhere and in each run, or use hashlib."
    )
