from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

def pickle_traceback(
    tb: TracebackType, *, get_locals: Callable[[FrameType], dict[str, Any]] | None = None
) -> tuple[Any, ...]: ...
def unpickle_traceback(tb_frame: Any, tb_lineno: int, tb_next: Any) -> TracebackType | None: ...
def pickle_exception(obj: BaseException) -> tuple[Any, ...]: ...
def unpickle_exception(
    func: Callable[..., BaseException],
    args: tuple[Any, ...],
    cause: BaseException | None,
    tb: TracebackType | None,
    context: BaseException | None = None,
    suppress_context: bool = False,
    notes: list[str] | None = None,
) -> BaseException: ...
def install(
    *exc_classes_or_instances: type[BaseException] | BaseException,
    get_locals: Callable[[FrameType], dict[str, Any]] | None = None,
) -> None: ...
