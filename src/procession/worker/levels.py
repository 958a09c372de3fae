"""The caller's logging levels in a worker, without a logger being made for them.

A logger belongs to whoever makes it first: libraries have classes of their own, set by
`logging.setLoggerClass` while they are imported. A plain logger made before that by name would be
what they find there, without the methods that they call. So levels are set on the loggers that
there are, and on others when somebody makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Levels"]


class Levels:
    """Keeps the levels of this process's loggers as the caller has them.

    Attributes:
        late: Names of loggers that were made since: whoever made one may have set its level after
            us, so it is set again for the next item.
    """

    def __init__(self) -> None:
        import logging

        self._logging = logging
        self._wanted: dict[str, int] = {}
        self.late: list[str] = []
        manager = logging.root.manager
        table = _Table(manager.loggerDict)
        table.told = self._made
        manager.loggerDict = table

    def adopt(self, levels: dict[str, int], disabled: int) -> None:
        """Set these levels, and no others.

        Args:
            levels: By name; the root logger's is empty.
            disabled: What the caller has given to `logging.disable`.
        """
        logging = self._logging
        for name in self._wanted.keys() - levels.keys():
            self._set(name, logging.NOTSET)
        self._wanted = levels
        self.late.clear()
        for name, level in levels.items():
            self._set(name, level)
        if logging.root.manager.disable != disabled:
            logging.disable(disabled)

    def again(self) -> None:
        """Set the levels of the loggers that were made lately."""
        while self.late:
            name = self.late.pop()
            self._set(name, self._wanted[name])

    def _set(self, name: str, level: int) -> None:
        logging = self._logging
        logger: Any = logging.root.manager.loggerDict.get(name) if name else logging.root
        if getattr(logger, "level", level) == level:
            return  # there is none, or only a place for it
        try:
            logger.setLevel(level)
        except Exception:
            return  # of a class of somebody's own, which knows no such level

    def _made(self, name: str) -> None:
        if name in self._wanted:
            self._set(name, self._wanted[name])
            self.late.append(name)


class _Table(dict[str, Any]):
    """`logging`'s table of loggers, which tells of each new one."""

    told: Callable[[str], None]

    def __setitem__(self, name: str, logger: Any) -> None:
        super().__setitem__(name, logger)
        self.told(name)
