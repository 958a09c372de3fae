"""The working folder, which may have been removed."""

from __future__ import annotations

import os

__all__ = ["working_folder"]


def working_folder() -> str:
    """Where this process works; empty if that was removed, as nothing is found there any more."""
    try:
        return os.getcwd()
    except OSError:
        return ""
