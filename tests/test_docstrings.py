"""The docstrings of what users call tell what they have to know before they call it.

That is what the arguments are, and in which units, what is raised, how it is ended, and an example.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import procession
from procession import shared, tasks, testing
from procession.verbs import Verbs
from tests.support.pages import DOCS

VERBS = "local submit map starmap imap imap_unordered outcomes map_async aimap with_options options"

RAISE_NOTHING = """
    current_task profile stats usable_cpus inline strict
    Future.cancel Future.running Future.add_done_callback Profile.summary
    Pool.shutdown Pool.terminate_workers Pool.kill_workers
    Lock.acquire RLock.acquire Semaphore.release Semaphore.get_value
    Event.is_set Event.set Event.clear Event.wait Barrier.reset Barrier.abort
    Queue.join Queue.qsize Queue.empty Queue.full Queue.close Connection.close
    Pipe
"""
"""Or only what a function of the user's raises."""

WAITING = """
    submit map starmap imap imap_unordered outcomes map_async aimap
    parallel parallel_map parallel_chunks background isolated
    gather as_completed wait Future Future.result Pool Pool.map
"""
"""Those that start something, or wait for it: each says how that is ended before its end."""

MADE_BY_OTHERS = """
    Options Outcome Profile Future Connection Synchronized SynchronizedArray SynchronizedString
"""
"""Classes that users do not call."""


def _public() -> dict[str, Any]:
    """The public functions and classes but errors, and the verbs."""
    found: dict[str, Any] = {
        name: getattr(module, name)
        for module in (procession, shared, testing)
        for name in module.__all__
    }
    found = {
        name: each
        for name, each in found.items()
        if not inspect.ismodule(each)
        and not (inspect.isclass(each) and issubclass(each, Exception | Warning))
    }
    decorated = type(procession.parallel(abs))
    return found | {
        verb: getattr(Verbs if verb in vars(Verbs) else decorated, verb) for verb in VERBS.split()
    }


def _members() -> dict[str, Any]:
    """What the reference shows of classes, as ``Class.member``."""
    found: dict[str, Any] = {}
    pattern = re.compile(r"^\.\. autoclass:: ([\w.]+)\(.*\)\n   :members: (.+)$", re.M)
    for page in ("api.md", "shared.md"):
        for name, members in pattern.findall((DOCS / "reference" / page).read_text()):
            short = name.rpartition(".")[2]
            homes = [each for each in (procession, shared, tasks) if hasattr(each, short)]
            owner = getattr(homes[0], short)
            found |= {f"{short}.{member}": getattr(owner, member) for member in members.split(", ")}
    return found


PUBLIC = _public()
MEMBERS = _members()
ALL = PUBLIC | MEMBERS
CALLED = {
    name: each
    for name, each in ALL.items()
    if name not in MADE_BY_OTHERS.split() and not isinstance(each, property)
}


def _text(each: Any) -> str:
    return inspect.getdoc(each) or ""


def _section(text: str, title: str) -> str:
    """The lines below ``title:``."""
    found = re.search(rf"^{title}:\n((?: .*\n?|\n(?= ))+)", text, re.M)
    return found[1] if found else ""


def _parameters(each: Any) -> list[str]:
    """Those that may be given by name, with the stars of the two that take any number."""
    stars: dict[Any, str] = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
    names = [
        stars.get(parameter.kind, "") + name
        for name, parameter in inspect.signature(each).parameters.items()
        if name not in ("self", "extra")
    ]
    if each is procession.Pool:  # the standard library's names are told of in the first line
        return ["workers", "options"]
    return names


def _told_arguments(text: str) -> dict[str, str]:
    """What stands under ``Args:``, by name."""
    entry = re.compile(r"^    (\*{0,2}\w+): ((?:.*\n?)(?:     .*\n?)*)", re.M)
    return {each[1].lstrip("*"): each[2] for each in entry.finditer(_section(text, "Args"))}


def test_arguments_are_explained() -> None:
    """Each stands under ``Args:``; seconds are called so."""
    missing = []
    for name, each in CALLED.items():
        told = _told_arguments(_text(each))
        missing += [f"{name}: {one}" for one in _parameters(each) if one.lstrip("*") not in told]
        for one in {"timeout", "drain"} & set(told):
            if "second" not in told[one].lower():
                missing.append(f"{name}: seconds of {one}")
    assert not missing


def test_what_is_raised_is_told() -> None:
    """In a section ``Raises:``; the list of those that have none is as short as can be."""
    silent = {
        name
        for name, each in CALLED.items()
        # What all of the shared classes raise is told once, on their page.
        if not _section(_text(each), "Raises") and not inspect.isclass(each)
    }
    assert silent == set(RAISE_NOTHING.split())


@pytest.mark.parametrize("name", WAITING.split())
def test_how_it_is_ended_is_told(name: str) -> None:
    """By cancelling, by leaving a loop, or by Ctrl-C."""
    assert re.search(
        r"[Cc]ancel|Ctrl-C|clos(es|ing)|how a call ends|is ended as `imap`", _text(ALL[name])
    )


def test_there_is_an_example() -> None:
    """Indented code after an empty line. Members are shown by their class."""
    assert not [
        name
        for name, each in PUBLIC.items()
        if name not in ("Options", "Outcome")  # `f.options` and `f.outcomes` show those
        and "\n\n    " not in _text(each).partition("\nArgs:")[0]
    ]


def test_members_are_documented() -> None:
    """Sphinx leaves out what has no docstring, in silence."""
    assert not [name for name, each in MEMBERS.items() if not _text(each)]
