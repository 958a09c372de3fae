"""What a profile writes: a page that is complete in itself, and a trace that tools can read."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import Profile
from procession.profiling.figures import Figures
from tests.profiling import functions as f

VOID = {"meta", "rect", "line"}


class Page(HTMLParser):
    """Checks that elements are closed in order; keeps the text and the attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.attributes += attrs
        if tag not in VOID or (tag == "rect" and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element that is empty."""
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Some text."""
        self.text += data


@pytest.fixture(scope="module")
def profile() -> Profile:
    """A profile of items here and in workers, with an error and an argument to be escaped."""
    with procession.profile() as p:
        f.square.map(range(2000))
        f.sent.map(range(50))
        list(f.fails.with_options(workers=2, inline=False).outcomes(range(4)))
        f.alone(1, name="<script>alert('&')</script>")
    return p


def test_the_page_is_well_formed(profile: Profile, tmp_path: Path) -> None:
    """Every element is closed, every worker has its row, and what the summary says is there."""
    path = tmp_path / "run.html"
    profile.save(path)
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()

    assert page.open == []
    pids = {pid for call in profile.calls for pid, _ in (*call.tracks, *profile.starts)}
    here = {place for place in Figures(profile).places if place[1]}
    for pid in pids - {pid for pid, _ in here}:
        assert f"worker {pid}" in page.text
    for _, thread in here:
        assert f"here: {thread}" in page.text
    for name in ("square()", "sent()", "fails()", "alone()", "Largest speed-up possible here"):
        assert name in page.text
    assert "name=\"<script>alert('&')</script>\"" in page.text
    assert ("class", "failed") in page.attributes


def test_the_page_loads_nothing(profile: Profile, tmp_path: Path) -> None:
    """It refers to nothing outside of it."""
    path = tmp_path / "run.HTML"
    profile.save(str(path))
    text = path.read_text(encoding="utf-8")

    assert "http" not in text
    assert "<script" not in text
    page = Page()
    page.feed(text)
    assert not {"src", "href"} & {name for name, _ in page.attributes}
    assert "url(" not in text
    assert "@import" not in text


def test_a_page_of_nothing(tmp_path: Path) -> None:
    """A profile without calls gives a page that says so."""
    with procession.profile() as p:
        pass
    p.save(tmp_path / "run.html")
    p.save(tmp_path / "run.json")

    assert "Nothing was recorded" in (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "traceEvents" in json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))


def test_the_trace_is_well_formed(profile: Profile, tmp_path: Path) -> None:
    """Events have what their kind must have; slices of one thread follow one another."""
    path = tmp_path / "run.json"
    profile.save(path)
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    events: list[dict[str, Any]] = loaded["traceEvents"]

    assert {event["ph"] for event in events} == {"M", "X", "b", "e"}
    for event in events:
        assert {"name", "ph", "pid", "tid"} <= set(event)
        if event["ph"] != "M":
            assert event["ts"] >= 0
            assert event["cat"] in {"item", "failed", "start", "call"}
    slices = [event for event in events if event["ph"] == "X"]
    assert all(event["dur"] >= 0 for event in slices)
    items = [event for event in slices if event["cat"] != "start"]
    assert sum(event["args"]["items"] for event in items) == 2000 + 50 + 4 + 1
    assert sum(event["args"]["failed"] for event in items) == 1
    begun = [event["id"] for event in events if event["ph"] == "b"]
    assert sorted(begun) == sorted(event["id"] for event in events if event["ph"] == "e")
    assert len(begun) == len(set(begun)) == len(profile.calls)


def test_the_trace_names_processes_and_threads(profile: Profile, tmp_path: Path) -> None:
    """Each process id and each thread that has slices has a name."""
    profile.save(tmp_path / "run.json")
    events = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["traceEvents"]

    processes = {event["pid"] for event in events if event["name"] == "process_name"}
    threads = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert {event["pid"] for event in events} <= processes
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] == "X"} <= threads
