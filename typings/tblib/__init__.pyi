# As far as Procession uses it.
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__version__: str

class TracebackParseError(Exception): ...

class Frame:
    def __init__(
        self,
        frame: FrameType,
        *,
        get_locals: Callable[[FrameType], dict[str, Any]] | None = None,
    ) -> None: ...

class Traceback:
    tb_lineno: int
    tb_next: Traceback | None
    def __init__(
        self,
        tb: TracebackType,
        *,
        get_locals: Callable[[FrameType], dict[str, Any]] | None = None,
    ) -> None: ...
    def as_traceback(self) -> TracebackType | None: ...
    def as_dict(self) -> dict[str, Any]: ...
    to_dict = as_dict
    @classmethod
    def from_dict(cls, dct: dict[str, Any]) -> Traceback: ...
    @classmethod
    def from_string(cls, string: str, strict: bool = True) -> Traceback: ...
