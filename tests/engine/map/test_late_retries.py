"""An attempt that can no longer be made: the item's own last error is what is given."""

from __future__ import annotations

from pathlib import Path

import pytest

import procession
from tests.chaos.helpers import program, within
from tests.chaos.jobs import die_unless_told
from tests.support.waiting import wait_for_file

AT_EXIT = """
import pathlib, threading, time
import procession
from tests.chaos.jobs import die_unless_told
from tests.support.waiting import wait_for_file, wait_until
folder = pathlib.Path({folder!r})
function = die_unless_told.with_options(backend={backend!r}, retries={retries}, workers=1)
future = function.submit(folder, first=9)
def say(done):
    error = done.exception()
    print(type(error).__name__, error, *getattr(error, "__notes__", ()), flush=True)
future.add_done_callback(say)
wait_for_file(folder / "begun 1")
def end():
    wait_until(lambda: threading._SHUTTING_DOWN)
    (folder / "die").touch()
threading.Thread(target=end, daemon=True).start()
"""


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_at_the_programs_end(backend: str, retries: int, tmp_path: Path) -> None:
    """A worker that dies while the program ends gives `WorkerDied`, tried again or not."""
    code = AT_EXIT.format(folder=str(tmp_path), backend=backend, retries=retries)
    child = program(code)
    try:
        out, _ = child.communicate(timeout=60)  # loky's tracker may speak of its semaphores
    finally:
        child.kill()
        child.communicate()
    assert out.startswith("WorkerDied The worker that ran die_unless_told() was killed by SIGKILL")
    tried = "at attempt 2" in out
    assert tried == (retries == 1) or "It was to be tried again, but " in out


@pytest.mark.parametrize("verb", ["submit", "map_async"])
def test_a_pool_that_is_shut_down_amid_a_retry(verb: str, tmp_path: Path) -> None:
    """The second attempt is ended by `shutdown()`: the first one's error says what was wrong."""
    function = die_unless_told.with_options(retries=1, workers=1)
    call = (
        function.submit if verb == "submit" else lambda path, **kw: function.map_async([path], **kw)
    )
    future = call(tmp_path, first=1)
    (tmp_path / "die").touch()
    wait_for_file(tmp_path / "begun 2")
    procession.shutdown()
    error = within(future.exception)
    assert isinstance(error, procession.WorkerDied)
    assert "was killed by SIGKILL" in str(error)
    assert error.attempts == 1
    assert error.__notes__[0].startswith(
        "It was to be tried again, but die_unless_told() was ended because its pool was shut down"
    )
