"""Tracebacks as plain data, and back.

A traceback is rebuilt from code objects that do nothing but raise, with the file, name, line and
columns of the remote frame. So the local traceback shows the remote lines, carets included,
wherever the same file (or notebook cell) can be read.
"""

from __future__ import annotations

import os
import sys
from itertools import islice
from types import CodeType, FrameType, TracebackType

from procession.hints import Any
from procession.system import FOLDER

Frame = tuple[str, str, str, str, int, tuple[int | None, int | None, int | None, int | None]]
"""File, module name, function name, qualified name, line, (line, end line, column, end column)."""

_KNOWN_TABLES = sys.implementation.name == "cpython" and sys.version_info < (3, 15)
"""Whether code objects have the location tables that `_line_table` writes."""

_OURS = FOLDER + os.sep
_HEAD, _TAIL = 20, 80
"""Frames kept of a deep traceback (a RecursionError has a thousand, nearly all the same)."""


def pack_traceback(traceback: TracebackType | None) -> list[Frame]:
    """Frames, outermost first, without ours at the top."""
    frames: list[TracebackType] = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    while len(frames) > 1 and frames[0].tb_frame.f_code.co_filename.startswith(_OURS):
        del frames[0]
    if len(frames) > _HEAD + _TAIL:
        frames[_HEAD:-_TAIL] = []
    return [_pack_frame(frame) for frame in frames]


def without_us(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of ours that it begins with."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_OURS):
        traceback = traceback.tb_next
    return traceback


def _pack_frame(traceback: TracebackType) -> Frame:
    code = traceback.tb_frame.f_code
    nowhere = (None, None, None, None)
    place = next(islice(code.co_positions(), traceback.tb_lasti // 2, None), nowhere)
    module = traceback.tb_frame.f_globals.get("__name__")
    name = module if isinstance(module, str) else ""
    line = traceback.tb_lineno or code.co_firstlineno
    return code.co_filename, name, code.co_name, code.co_qualname, line, place


def unpack_traceback(frames: list[Frame]) -> TracebackType | None:
    """A traceback that prints as the packed one did."""
    traceback: TracebackType | None = None
    for frame in reversed(frames):
        made, lasti = _make_frame(frame)
        traceback = TracebackType(traceback, made, lasti, frame[4])
    return traceback


class _Here(Exception):
    """Raised by the code of a frame that is made only to be looked at."""


_STUB = compile("raise _Here", "<remote>", "exec")


def _make_frame(frame: Frame) -> tuple[FrameType, int]:
    filename, module, name, qualname, line, place = frame
    if _KNOWN_TABLES:
        table = _line_table(_STUB, line, place)
        code = _STUB.replace(co_firstlineno=line, co_linetable=table)
    else:  # the same without columns
        code = compile("\n" * (line - 1) + "raise _Here", filename, "exec")
    code = code.replace(co_filename=filename, co_name=name, co_qualname=qualname)
    traceback: Any = None
    try:
        exec(code, {"_Here": _Here, "__name__": module, "__file__": filename})
    except _Here as here:
        traceback = here.__traceback__
    return traceback.tb_next.tb_frame, traceback.tb_next.tb_lasti


def _line_table(code: CodeType, line: int, place: tuple[Any, ...]) -> bytes:
    """A location table (see CPython's ``Objects/locations.md``) with one place for all of it."""
    units = len(code.co_code) // 2
    start, end, column, end_column = place
    if start != line or end is None or column is None or end_column is None:
        kind, rest = 13, b"\0"  # a line without columns
    else:
        numbers = (end - start, column + 1, end_column + 1)
        kind, rest = 14, b"\0" + b"".join(_varint(number) for number in numbers)
    table = b""
    while units > 0:
        length = min(units, 8)
        table += bytes([0x80 | kind << 3 | length - 1]) + rest
        units -= length
    return table


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number >= 64:
        groups.append(0x40 | number & 63)
        number >>= 6
    groups.append(number)
    return bytes(groups)
