"""The caller's logging levels in a worker, without a logger being made for them.

A logger belongs to whoever makes it first: libraries have classes of their own, set by
`logging.setLoggerClass` while they are imported. A plain logger made before that by name would be
what they find there, without the methods that they call. So levels are set on the loggers that
there are; those of others are looked up by name whenever a logger asks for its level.
"""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["Levels"]


class Levels:
    """Has this process's loggers behave as if they had the caller's levels."""

    def __init__(self) -> None:
        self._wanted: dict[str, int] = {}
        self._absent: dict[str, int] = {}
        self._effective = effective = logging.Logger.getEffectiveLevel

        def level_of(logger: logging.Logger) -> int:
            return self._level_of(logger) if self._absent else effective(logger)

        logging.Logger.getEffectiveLevel = level_of  # type: ignore[method-assign, assignment]

    def adopt(self, levels: dict[str, int], disabled: int) -> None:
        """Have these levels, and no others.

        Args:
            levels: By name; the root logger's is empty.
            disabled: What the caller has given to `logging.disable`.
        """
        for name in self._wanted.keys() - levels.keys():
            _set(_logger(name), logging.NOTSET)
        self._wanted = levels
        loggers = {name: _logger(name) for name in levels}
        self._absent = {name: levels[name] for name, found in loggers.items() if found is None}
        for name, logger in loggers.items():
            _set(logger, levels[name])
        # Also has each logger forget what it knows of the levels above it.
        logging.disable(disabled)

    def _level_of(self, logger: logging.Logger) -> int:
        """A logger's level: its own, or the next one above it, whether that was made or not."""
        name = logger.name
        if _logger(name) is not logger:
            return self._effective(logger)  # of nobody's tree
        while name:
            level = self._absent.get(name) or getattr(_logger(name), "level", 0)
            if level:
                return int(level)
            name = name.rpartition(".")[0]
        return logging.root.level


def _logger(name: str) -> Any:
    """The logger of this name; `None` if there is none, or only a place for it."""
    found: Any = logging.root.manager.loggerDict.get(name) if name else logging.root
    return None if isinstance(found, logging.PlaceHolder) else found


def _set(logger: Any, level: int) -> None:
    if logger is None or logger.level == level:
        return
    try:
        logger.setLevel(level)
    except Exception:
        return  # of a class of somebody's own, which knows no such level
