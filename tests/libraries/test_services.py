"""A web service whose requests run in workers: a bounded queue, bombs among them, a quiet end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from procession import Overloaded, isolated
from tests.libraries.service import gate, make_app


async def _get_all(kinds: list[str], opens_at: int = 0) -> list[Any]:
    """The answers, as they come; the gate opens after so many."""
    import httpx

    transport = httpx.ASGITransport(app=make_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answers: list[Any] = []
        for answered in asyncio.as_completed([client.get(f"/{kind}") for kind in kinds]):
            answers.append(await answered)
            if len(answers) == opens_at:
                gate.set()
        return answers


def test_fifty_requests_at_once() -> None:
    """Ten are served or wait, the others are refused at once; the next one is served."""
    answers = asyncio.run(_get_all(["held"] * 50, opens_at=40))
    assert [each.status_code for each in answers] == [503] * 40 + [200] * 10
    assert "max_pending" in answers[0].text
    assert asyncio.run(_get_all(["good"]))[0].status_code == 200


def test_bombs_among_the_requests() -> None:
    """A request that ends its worker fails alone."""
    answers = asyncio.run(_get_all(["good", "bomb", "good", "bomb", "good", "good"]))
    assert sorted(each.status_code for each in answers) == [200, 200, 200, 200, 500, 500]


def test_an_isolated_endpoint() -> None:
    """`@isolated` calls are bounded alike."""

    @isolated(max_pending=2, pickling="by-value")
    def alone(n: int) -> int:
        return n

    async def main() -> list[Any]:
        calls = (asyncio.wrap_future(alone.submit(n)) for n in range(20))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    results = asyncio.run(main())
    good = [each for each in results if not isinstance(each, BaseException)]
    refused = [each for each in results if isinstance(each, Overloaded)]
    assert len(good) >= 2
    assert len(good) + len(refused) == 20


SERVICE = """
import contextlib, os, time
from fastapi import FastAPI
import procession
from procession import parallel

@parallel(workers=2)
def slow(n: int) -> int:
    open(os.environ["BEGUN"], "w").close()
    time.sleep(0.5)
    return n

@contextlib.asynccontextmanager
async def lifespan(app):
    yield
    procession.shutdown(drain=30)

app = FastAPI(lifespan=lifespan)

@app.get("/slow")
async def answer() -> int:
    return await slow.submit(7)

@app.get("/ready")
async def ready() -> str:
    return "ready"
"""


def _port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


COMMANDS = {
    "gunicorn": [
        *("-m", "gunicorn", "service:app", "-k", "uvicorn.workers.UvicornWorker"),
        *("-b", "127.0.0.1:{port}", "--log-level", "error"),
    ],
}


@pytest.mark.parametrize("server", COMMANDS)
def test_a_request_ends_before_the_service_does(server: str, tmp_path: Path) -> None:
    """After SIGTERM the request that runs is answered, and no process is left."""
    pytest.importorskip(server)
    pytest.importorskip("uvicorn")
    if server == "gunicorn":
        pytest.importorskip("uvicorn.workers")
    (tmp_path / "service.py").write_text(SERVICE)
    port, begun = _port(), tmp_path / "begun"
    command = [sys.executable, *(part.format(port=port) for part in COMMANDS[server])]
    service = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "BEGUN": str(begun)})
    try:
        _until(lambda: _fetch(port, "ready") == '"ready"')
        with _asking(port) as asked:
            _until(begun.exists)
            service.send_signal(signal.SIGTERM)
            assert asked.communicate(timeout=60)[0].strip() == "7"
        assert service.wait(60) in (0, -signal.SIGTERM)
    finally:
        service.kill()
        service.wait()


def _fetch(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answered:
            return str(answered.read().decode())
    except OSError:
        return ""


def _asking(port: int) -> subprocess.Popen[str]:
    program = (
        "import urllib.request as r;"
        f"print(r.urlopen('http://127.0.0.1:{port}/slow', timeout=60).read().decode())"
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def _until(holds: Any) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
