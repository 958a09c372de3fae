"""Every example runs as a program, in silence on stderr, and prints what it promises."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import ENDS_WITHOUT_THREADS
from tests.support.project import ROOT
from tests.support.waiting import wait_until

EXAMPLES = ROOT / "examples"
PROMISES = {
    "background_calls.py": ["148,933 primes below 2,000,000", "168 primes below 1,000", "awaited:"],
    "codebase_metrics.py": ["The ten most complex functions:", "times as fast", "speed-up"],
    "crashing_library.py": [
        "text:      10 letters\n",
        "address 8: the library crashed with SIGSEGV, and this program did not",
        "[True, False, True, False]",
    ],
    "cross_validation.py": ["as without workers"],
    "data_frame.py": ["200,000 trips", "ferry"],
    "monte_carlo.py": ["pi is about 3.1", "with a generator for each item: 3.1"],
    "on_dask.py": ["here and there; item 10 failed with WorkerDied"],
    "producer_consumer.py": ["1,000 produced; the squares add up to 332,833,500"],
    "shared_state.py": [
        "counted to 4,000, of each digit [400, 400,",
        "40,000 steps under a lock",
        "never more than two inside",
        "the answers were [2, 4, 6]",
    ],
    "thumbnails.py": ["07.png is no image\n23 thumbnails"],
    "two_thousand_files.py": [
        "2,000 files to do, 2 failed, 1,998 done in all",
        "0500.csv: ValueError after 1 attempt(s)",
        "1200.csv: WorkerDied after 3 attempt(s)",
        "2 files to do, 0 failed, 2,000 done in all",
        "sum of all: 1,999,298",
    ],
}
OTHERWISE = {"fastapi_service.py", "notebook.ipynb"}
"""Examples with a test of their own, below."""

RUN_NOTEBOOK = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.get("outputs", ()):
        print(output["data"]["text/plain"])
"""


def test_every_example_is_tested_and_in_the_index() -> None:
    """No example is left out of the table above, nor of the folder's page."""
    there = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert there == set(PROMISES) | OTHERWISE
    index = (EXAMPLES / "README.md").read_text()
    assert there == set(re.findall(r"\]\(([\w.]+)\)", index)) - {"README.md"}
    page = (ROOT / "docs" / "examples.md").read_text()
    assert there == set(re.findall(r"examples/(\w+\.(?:py|ipynb))", page))


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_example(name: str, tmp_path: Path) -> None:
    """The example ends well and prints what it promises."""
    if name == "on_dask.py" and ENDS_WITHOUT_THREADS:
        pytest.skip("Dask starts threads at the end of a program")
    # A small package stands for the whole standard library, to keep this short.
    arguments = [str(Path(os.__file__).parent / "json")] if name == "codebase_metrics.py" else []
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    for promise in PROMISES[name]:
        assert promise in ran.stdout


def test_the_notebook(tmp_path: Path) -> None:
    """Each cell runs in a kernel, and a function that is defined anew is the new one in workers."""
    command = [sys.executable, "-c", RUN_NOTEBOOK, str(EXAMPLES / "notebook.ipynb")]
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False
    )
    assert ran.stdout.splitlines() == [
        "[4, 25, 168]",
        "[4, 15, 15]",
        "['4 below 10', '25 below 100']",
        "[True, False, True]",
    ], ran.stderr


class Service:
    """The service, up and running."""

    def __init__(self, address: str, process: subprocess.Popen[str]) -> None:
        self.address = address
        self.process = process

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """The answer's status and text."""
        try:
            with urllib.request.urlopen(self.address + path, body, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return self.ask("/metrics")[0] == 200
        except urllib.error.URLError:
            return False

    def at_work(self) -> int:
        """How many requests its workers are at, or have before them."""
        pools = json.loads(self.ask("/metrics")[1]).values()
        return sum(pool["busy"] + pool["waiting"] for pool in pools)


@pytest.fixture
def service() -> Iterator[Service]:
    """The example, served by uvicorn on a port that was free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        number = listener.fileno()
        command = ["-m", "uvicorn", "fastapi_service:app", "--fd", str(number)]
        with subprocess.Popen(
            [sys.executable, *command, "--app-dir", str(EXAMPLES), "--log-level", "error"],
            pass_fds=[number],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            service = Service(f"http://127.0.0.1:{listener.getsockname()[1]}", process)
            try:
                wait_until(service.is_up)
                yield service
            finally:
                process.kill()


def test_the_service(service: Service) -> None:
    """It answers, refuses what is too much, survives a crash, and ends what it has begun."""
    status, answer = service.ask("/thumbprint", b"text")
    assert (status, len(json.loads(answer)["thumbprint"])) == (200, 16)
    assert service.ask("/thumbprint", b"crash")[0] == 500

    with ThreadPoolExecutor(8) as clients:
        hanging = [clients.submit(service.ask, "/thumbprint", b"hang") for _ in range(4)]
        wait_until(lambda: service.at_work() == 4)
        assert service.ask("/thumbprint", b"one more")[0] == 503
        assert {each.result()[0] for each in hanging} == {504}

        last = clients.submit(service.ask, "/thumbprint", b"x" * 50_000_000)
        wait_until(lambda: service.at_work() == 1 or last.done())
        service.process.send_signal(signal.SIGTERM)
        assert last.result()[0] == 200
    assert service.process.wait(60) in (0, -signal.SIGTERM)
    assert service.process.stdout is not None
    assert "Traceback" not in service.process.stdout.read()
