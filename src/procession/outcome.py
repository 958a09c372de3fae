"""What came of one item: its value or its error, and how it got there."""

from __future__ import annotations

from procession.hints import Any, Generic, TypeVar

R_co = TypeVar("R_co", covariant=True)


class Outcome(Generic[R_co]):
    """What came of one item of ``f.outcomes(items)``.

    Attributes:
        index: The item's place in the input, from 0.
        item: The item itself, the caller's own object.
        error: What the item raised, or why it could not be run; `None` if it is `ok`.
        attempts: How many times it was tried.
        seconds: How long the function ran for it, all attempts together.
    """

    __slots__ = ("_value", "attempts", "error", "index", "item", "seconds")

    index: int
    item: Any
    error: BaseException | None
    attempts: int
    seconds: float

    def __init__(
        self,
        index: int,
        item: Any,
        value: Any = None,
        error: BaseException | None = None,
        attempts: int = 1,
        seconds: float = 0.0,
    ) -> None:
        self.index = index
        self.item = item
        self._value = value
        self.error = error
        self.attempts = attempts
        self.seconds = seconds

    @property
    def ok(self) -> bool:
        """Whether the item gave a value."""
        return self.error is None

    @property
    def value(self) -> R_co:
        """The item's value.

        Raises:
            BaseException: The item's `error`, if it is not `ok`.
        """
        if self.error is not None:
            raise self.error
        value: R_co = self._value
        return value

    def __repr__(self) -> str:
        what = f"value={self._value!r}" if self.error is None else f"error={self.error!r}"
        return f"<Outcome {self.index}: {what}, attempts={self.attempts}>"
