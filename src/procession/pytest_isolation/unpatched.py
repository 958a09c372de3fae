"""What the plugin takes from the interpreter, as it was before any test could change it.

A test's mocks hold in pytest's own process as well, and are not meant for the plugin: a module's
fixture freezes ``time.monotonic``, say, or replaces ``subprocess.Popen``. So the plugin is loaded
before the first test and keeps the functions that it needs. Its clocks come from
`procession.system.pristine`.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import json as json
    import pickle as pickle
    import tempfile as tempfile

    from posix_types import fcntl as fcntl
    from posix_types import os as os
    from posix_types import signal as signal
else:
    from types import SimpleNamespace

    def _kept(name):
        return SimpleNamespace(**vars(__import__(name)))

    json, os, pickle, signal, tempfile = map(_kept, ("json", "os", "pickle", "signal", "tempfile"))
    try:
        fcntl = _kept("fcntl")
    except ImportError:  # Windows, where no test is isolated
        fcntl = None

IMPORT_PATH = list(sys.path)
"""Where modules were looked for when pytest started; conftest files and test folders add to it."""

IN_CHILD = pytest.StashKey[bool]()
"""Set in the configuration of a pytest that runs isolated tests for another one."""


@cache
def subprocess() -> Any:
    """The module once more, on what was kept: its own functions use the shared ones of `os`."""
    from importlib.util import find_spec, module_from_spec

    spec = find_spec("subprocess")
    assert spec is not None
    assert spec.loader is not None
    made: Any = module_from_spec(spec)
    spec.loader.exec_module(made)
    made.os = os
    return made
