"""Python's bytecode, as far as the checks of a decorated function's code need it.

`dis` would do, and costs ten times as much.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from opcode import HAVE_ARGUMENT, opmap, opname, stack_effect
from types import CodeType

Instruction = tuple[int, str, int]
"""(offset, name, argument)."""

_EXTENDED_ARG = opmap["EXTENDED_ARG"]
_CHANGES = frozenset(
    {
        "append",
        "appendleft",
        "extend",
        "extendleft",
        "insert",
        "remove",
        "pop",
        "popleft",
        "popitem",
        "clear",
        "sort",
        "reverse",
        "add",
        "discard",
        "update",
        "setdefault",
        "difference_update",
        "intersection_update",
        "symmetric_difference_update",
        "subtract",
    }
)
_IN_PLACE = 13  # the first of BINARY_OP's arguments that stand for +=, -= and so on
_SUBSCRIPT = 26  # BINARY_OP stands for a subscript from Python 3.14 on
_TAKES = ("BINARY_SUBSCR", "BINARY_OP")
FARTHEST = 60
"""How many instructions after an object was loaded are looked at."""


def instructions(code: CodeType) -> Iterator[Instruction]:
    """The code's instructions, as far as the checks need them."""
    raw = code.co_code
    extended = 0
    for offset in range(0, len(raw), 2):
        op, arg = raw[offset], raw[offset + 1] | extended
        if op == _EXTENDED_ARG:
            extended = arg << 8
            continue
        extended = 0
        name = opname[op]
        if name in ("LOAD_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST", "STORE_FAST_LOAD_FAST"):
            first, second = name[:-5].rsplit("_", 2)[0], name.rsplit("_", 2)[1] + "_FAST"
            yield offset, _first_half(first), arg >> 4
            yield offset, second, arg & 15
        elif op:  # not a cache
            yield offset, name, arg


def _first_half(name: str) -> str:
    return "LOAD_FAST" if name.startswith("LOAD") else "STORE_FAST"


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code and that of all functions inside it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from codes(const)


def line(code: CodeType, offset: int) -> str:
    """The line of an instruction, for a message."""
    for start, end, number in code.co_lines():
        if start <= offset < end and number is not None:
            return f" (line {number})"
    return ""


def use(code: CodeType, steps: list[Instruction]) -> str:
    """How the object on top of the stack is changed by what follows; empty if it is not."""
    above = 0  # what lies on the stack above the object, or above an item taken from it
    copied = False
    for place, (_, op, arg) in enumerate(steps):
        if above == 0 and op in ("LOAD_ATTR", "LOAD_METHOD"):
            index = arg >> 1 if op == "LOAD_ATTR" and sys.version_info >= (3, 12) else arg
            found = code.co_names[index] in _CHANGES
            return "method" if found and (place == 0 or steps[place - 1][1] in _TAKES) else ""
        if above == (2 if copied else 1) and op in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            taken = copied or any(name in _TAKES for _, name, _ in steps[:place])
            return "item" if taken or op != "STORE_SUBSCR" else "new item"
        if op == "COPY" and above == 1 and arg == 2:
            copied = True  # of ``x[i] += 1``, which puts it back there
        if above == 2 and op == "STORE_SLICE":
            return "item"
        if above == 1 and op == "BINARY_OP" and _IN_PLACE <= arg < _SUBSCRIPT:
            return "in place"
        if "JUMP" in op or op.startswith(("FOR_", "RETURN", "RAISE")):
            return ""
        above += _effect(op, arg)
        if above < 0:
            return ""
    return ""


def keeps(code: CodeType, steps: list[Instruction], variable: str) -> bool:
    """Whether code that sets items of a global uses it to keep what it has found before.

    Such code asks whether the item is there and takes it if it is: each worker may well keep its
    own. (What only asks, or counts, is lost.)
    """
    loads = [
        place + 1
        for place, (_, op, arg) in enumerate(steps)
        if op == "LOAD_GLOBAL" and code.co_names[arg >> 1] == variable
    ]
    after = [steps[place : place + FARTHEST] for place in loads]
    asks = "KeyError" in code.co_names or any(
        each and each[0][1] == "CONTAINS_OP" for each in after
    )
    if asks and any(map(_takes_item, after)):
        return True
    compares = any(op.endswith(("IF_NONE", "IF_NOT_NONE")) for _, op, _ in steps)
    return compares and any(each and attribute_of(code, each[0]) == "get" for each in after)


def makes_once(code: CodeType, steps: list[Instruction], variable: str) -> bool:
    """Whether code assigns a global once, where that is None: each worker may well make its own."""
    stores = [1 for _, op, arg in steps if op == "STORE_GLOBAL" and code.co_names[arg] == variable]
    asks = any(
        op == "LOAD_GLOBAL"
        and code.co_names[arg >> 1] == variable
        and after.endswith("IF_NOT_NONE")
        for (_, op, arg), (_, after, _) in pairwise(steps)
    )
    return len(stores) == 1 and asks


def _takes_item(steps: list[Instruction]) -> bool:
    """Whether an item of the object on top of the stack is loaded."""
    above = 0
    for _, op, arg in steps:
        if above == 1 and (op == "BINARY_SUBSCR" or (op == "BINARY_OP" and arg == _SUBSCRIPT)):
            return True
        if "JUMP" in op or op.startswith(("FOR_", "RETURN", "RAISE")):
            return False
        above += _effect(op, arg)
        if above < 0:
            return False
    return False


def attribute_of(code: CodeType, step: Instruction) -> str:
    """The attribute that an instruction loads; empty if it loads none."""
    _, op, arg = step
    if op not in ("LOAD_ATTR", "LOAD_METHOD"):
        return ""
    return code.co_names[arg >> 1 if op == "LOAD_ATTR" and sys.version_info >= (3, 12) else arg]


def _effect(op: str, arg: int) -> int:
    number = opmap[op]
    return stack_effect(number, arg if number >= HAVE_ARGUMENT else None)
