"""Functions that tell what the interpreter is set to where they run."""

from __future__ import annotations

import csv
import decimal
import locale
import os
import socket
import sys
import time
from typing import Any

from procession import parallel


def seen() -> dict[str, Any]:
    """What of the interpreter's settings is seen here; numpy only if it is loaded."""
    context = decimal.getcontext()
    return {
        "prec": context.prec,
        "rounding": context.rounding,
        "inexact": context.traps[decimal.Inexact],
        "recursion": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(),
        "socket": socket.getdefaulttimeout(),
        "csv": csv.field_size_limit(),
        "collate": locale.setlocale(locale.LC_COLLATE),
    }


@parallel(inline=False)
def look(_: object) -> dict[str, Any]:
    """What is seen where this runs."""
    return seen()


@parallel(inline=False)
def look_at_numpy(_: object) -> dict[str, Any]:
    """What numpy is set to where this runs, imported only here."""
    import numpy as np

    return {**np.geterr(), "printed": str(np.array([1.23456789])), "call": np.geterrcall()}


@parallel(inline=False)
def change(_: object) -> int:
    """Change the decimal context here; the precision that was found."""
    found = decimal.getcontext().prec
    decimal.getcontext().prec = 7
    return found


def complain(kind: str, flag: int) -> None:
    """Numpy's error callback in a test."""


def set_up() -> None:
    """An initializer that sets what the caller sets as well."""
    decimal.getcontext().prec = 60
    sys.setrecursionlimit(4000)


def surroundings() -> dict[str, Any]:
    """What this process's folder, variable and zone are."""
    return {
        "folder": os.getcwd(),
        "variable": os.environ.get("A_VARIABLE"),
        "zone": time.timezone,
    }


@parallel
def look_around(_: int) -> dict[str, Any]:
    """The same, of the process in which an item runs."""
    return surroundings()


def set_variable() -> None:
    """An initializer that sets a variable of the environment."""
    os.environ["SET_BY_THE_INITIALIZER"] = "theirs"


@parallel(inline=False)
def variables(_: object) -> tuple[str | None, str | None]:
    """The initializer's variable, and the program's."""
    return os.environ.get("SET_BY_THE_INITIALIZER"), os.environ.get("SET_BY_THE_PROGRAM")
