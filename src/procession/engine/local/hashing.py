"""Functions that hash: they give one thing here and another in a worker.

`hash` of a str depends on a seed, which this process cannot change any more (see
`process.start.hash_seed`). Workers of such a function agree with each other, however they are
started, so its items all go there.
"""

from __future__ import annotations

from types import CodeType

from procession.configuration import Options
from procession.engine.call import Call
from procession.errors import warn_user
from procession.hints import Any
from procession.system.bytecode import codes, instructions

_KEPT = 256
_known: dict[Any, bool] = {}
"""Whether code hashes. By its equality, as for other code that does the same."""


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


def agreeing(call: Call) -> Options:
    """The call's options, for workers that hash as all others do.

    A fork server that is a copy of this process hashes as it does, and all others by one seed. So a
    function that hashes has one of those, also after the copy has ended.
    """
    options = call.options
    if options.context is not None or options.backend != "process":
        return options
    code = getattr(call.function, "__code__", None)
    found = _known.get(code)
    if found is None:
        if len(_known) > _KEPT:
            _known.clear()
        found = _known[code] = _hashes(call.function)
    if not found:
        return options
    from dataclasses import replace

    from procession.process.start.start_methods import default_method

    if default_method() != "forkserver":
        return options

    return replace(options, context="forkserver")


def _agrees() -> bool:
    from procession.process.start.hash_seed import agrees
    from procession.process.start.start_methods import default_method

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
