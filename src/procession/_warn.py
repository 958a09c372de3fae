"""Warnings that point at the user's own line."""

from __future__ import annotations

import os
import sys
import warnings

from procession.errors import ParallelWarning

__all__ = ["warn_user"]

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn_user(message: str) -> None:
    """Issue a `ParallelWarning` for the innermost line that is not Procession's own."""
    level, frame = 1, sys._getframe(0)
    # A warning's stacklevel counts frames, and how many are ours depends on how we were called.
    while frame.f_code.co_filename.startswith(_OURS) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, ParallelWarning, stacklevel=level)
