"""What stands for an argument that was not given, where `None` would be one."""

from __future__ import annotations

from procession.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Final

__all__ = ["NOT_GIVEN"]


class _NotGiven:
    def __repr__(self) -> str:
        return "..."  # what `help` shows


NOT_GIVEN: Final[Any] = _NotGiven()
