# As far as Procession uses it.
from types import TracebackType
from typing import Any, Self

class threadpool_limits:
    def __init__(
        self, limits: int | dict[str, int] | None = None, user_api: str | None = None
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def restore_original_limits(self) -> None: ...

def threadpool_info() -> list[dict[str, Any]]: ...
