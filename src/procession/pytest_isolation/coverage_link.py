"""How a test's process is to measure coverage, if pytest's own does."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from procession.system import NamedTuple

__all__ = ["Measuring", "measuring"]


class Measuring(NamedTuple):
    """What the test's process needs.

    Attributes:
        arguments: For `coverage.Coverage`, or `None` if nothing is to be measured.
        options: More of pytest's command line.
        contexts: Whether each test's phases are told apart (``--cov-context=test``).
    """

    arguments: dict[str, Any] | None = None
    options: tuple[str, ...] = ()
    contexts: bool = False


def measuring(config: pytest.Config) -> Measuring:
    """Find out whether coverage is measured here, and how.

    pytest-cov itself stays out of the test's process: there it would erase the data files of the
    others, and report. The process writes a data file of its own beside them, which pytest-cov
    takes in at the end.
    """
    plugin: Any = config.pluginmanager.getplugin("_cov")
    options = ("--no-cov",) if hasattr(config.option, "no_cov") else ()
    controller = getattr(plugin, "cov_controller", None)
    if controller is not None and controller.cov is not None and not plugin._disabled:
        arguments: dict[str, Any] = {
            "source": controller.cov_source,
            "branch": controller.cov_branch,
            "config_file": controller.cov_config,
            "data_file": os.path.join(controller.topdir, controller.cov.config.data_file),
            "data_suffix": True,
        }
        return Measuring(arguments, options, plugin.options.cov_context == "test")
    coverage: Any = sys.modules.get("coverage")
    current = coverage.Coverage.current() if coverage is not None else None
    if current is None or not current.config.parallel:
        return Measuring(None, options)
    arguments = {
        "source": current.config.source,
        "branch": current.config.branch,
        "config_file": current.config.config_file or False,
        "data_file": os.path.abspath(current.config.data_file),
        "data_suffix": True,
    }
    return Measuring(arguments, options)
