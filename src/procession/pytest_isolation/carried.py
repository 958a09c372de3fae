"""What crosses between pytest and a test's process beside reports, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, cast

import pytest
from _pytest.junitxml import xml_key

__all__ = [
    "add_to_xml",
    "adopt_options",
    "not_carried",
    "own_databases",
    "plain_options",
    "tell_xml",
    "xml_family",
]

_PLAIN: Final = (str, int, float, bool, type(None))


def plain_options(config: pytest.Config) -> dict[str, Any]:
    """The options as they are now, with what plugins have decided when pytest was configured.

    A random seed that a plugin has drawn is the same in the test's process, as it is in a worker
    of pytest-xdist. Options that are no plain values stay here.
    """
    return {name: value for name, value in vars(config.option).items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, cast("list[object]", value)))
    if type(value) is dict:
        held = cast("dict[object, object]", value)
        return all(map(_is_plain, [*held, *held.values()]))
    return type(value) in _PLAIN


def adopt_options(config: pytest.Config, options: dict[str, Any]) -> None:
    """In a test's process: take over the options, before any plugin is configured."""
    vars(config.option).update(options)


class _Node:
    """Stands for one test in the XML report, in the test's process."""

    def __init__(self, tell: Callable[..., None], nodeid: str) -> None:
        self._tell, self._nodeid = tell, nodeid

    def add_attribute(self, name: str, value: object) -> None:
        """As the report's own."""
        self._tell("attribute", self._nodeid, str(name), str(value))


class _Xml:
    """Stands for the XML report in a test's process: what fixtures add there is sent home."""

    def __init__(self, tell: Callable[..., None], family: str) -> None:
        self._tell = tell
        self.family = family

    def node_reporter(self, nodeid: str) -> _Node:
        """What stands for a test."""
        return _Node(self._tell, nodeid)

    def add_global_property(self, name: str, value: object) -> None:
        """As the report's own."""
        self._tell("property", "", str(name), str(value))


def tell_xml(config: pytest.Config, family: str | None, tell: Callable[..., None]) -> None:
    """Have `record_xml_attribute` and `record_testsuite_property` tell pytest's own report.

    Args:
        config: The configuration of the test's process.
        family: The XML report's, if pytest writes one.
        tell: Sends what was recorded.
    """
    stand_in: Any = _Xml(tell, family) if family is not None else None
    if stand_in is not None:
        config.stash[xml_key] = stand_in


def add_to_xml(config: pytest.Config, kind: str, nodeid: str, name: str, value: str) -> None:
    """In pytest: add to the XML report what a test has recorded in its process."""
    xml = config.stash.get(xml_key, None)
    if xml is None:
        return
    if kind == "property":
        xml.add_global_property(name, value)
    else:
        xml.node_reporter(nodeid).add_attribute(name, value)


def xml_family(config: pytest.Config) -> str | None:
    """Which kind of XML report pytest writes; `None` if it writes none."""
    xml = config.stash.get(xml_key, None)
    return None if xml is None else str(xml.family)


def own_databases(workerinput: dict[str, Any] | None) -> ModuleType:
    """A plugin that gives a test's process test databases of its own under pytest-django.

    Args:
        workerinput: What pytest-xdist has told pytest, if that is one of its workers.
    """
    worker = (workerinput or {}).get("workerid")

    @pytest.fixture(scope="session")
    def django_db_modify_db_settings_xdist_suffix() -> None:
        """In place of pytest-django's own, which keeps workers of pytest-xdist apart."""
        from importlib import import_module

        fixtures: Any = import_module("pytest_django.fixtures")
        suffix = f"{worker}_isolated" if worker else "isolated"
        fixtures._set_suffix_to_test_databases(suffix=suffix)

    plugin = ModuleType("procession-own-databases")
    vars(plugin)["django_db_modify_db_settings_xdist_suffix"] = (
        django_db_modify_db_settings_xdist_suffix
    )
    return plugin


def not_carried(item: pytest.Item) -> list[str]:
    """What plugins record in a test's process and never learn here, in words."""
    option = item.config.option
    found: list[str] = []
    if getattr(option, "allure_report_dir", None):
        found.append("allure's steps, attachments and status (--alluredir)")
    if "benchmark" in getattr(item, "fixturenames", ()):
        found.append("the figures of pytest-benchmark's fixture 'benchmark'")
    if getattr(option, "cucumber_json_path", None):
        found.append("pytest-bdd's steps (--cucumberjson)")
    return found
