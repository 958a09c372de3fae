"""A value that code of the user's makes, once: in the thread that asks for it first."""

from __future__ import annotations

from collections.abc import Callable

from procession.hints import Generic, TypeVar
from procession.system.pristine import threading
from procession.system.wakeup import Wakeup

T = TypeVar("T")


class Once(Generic[T]):
    """A value that is made once, by user code, in the thread that asks for it first.

    Others who ask wait until it is made; no lock is held meanwhile.

    Args:
        make: Makes it. If it raises, who asked gets the error, and the next one tries again.
    """

    __slots__ = ("_made", "_maker", "_makes", "_waiting")

    def __init__(self, make: Callable[[], T]) -> None:
        self._makes = [make]
        self._made: list[T] = []
        self._maker = 0
        self._waiting: list[Wakeup] = []

    def __call__(self) -> T:
        """The value."""
        while not self._made:
            try:
                make = self._makes.pop()
            except IndexError:
                self._wait()
                continue
            try:
                self._maker = threading.get_ident()
                self._made.append(make())
            except BaseException:
                self._makes.append(make)
                raise
            finally:
                self._maker = 0
                while self._waiting:
                    self._waiting.pop().wake()
        return self._made[0]

    @property
    def made(self) -> bool:
        """Whether it is there."""
        return bool(self._made)

    @property
    def mine(self) -> bool:
        """Whether the calling thread is just making it."""
        return self._maker == threading.get_ident()

    def _wait(self) -> None:
        if self.mine:
            raise RuntimeError(
                "This value is being made by code that asks for it itself, in the same thread. "
                "Let its __setstate__, factory or log handler do without it."
            )
        wakeup = Wakeup()
        self._waiting.append(wakeup)
        if not (self._made or self._makes):
            wakeup.wait()
