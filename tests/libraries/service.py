"""A service of FastAPI's and what its requests ask for; the workers import none of FastAPI's."""

from __future__ import annotations

import os

from procession import Overloaded, WorkerDied, parallel, shared
from procession.hints import Any

gate = shared.Event()


@parallel(workers=2, max_pending=8)
def work(kind: str, gate: Any) -> str:
    """What a request asks for: most are good, some end their worker, some wait for the gate."""
    if kind == "bomb":
        os._exit(3)
    if kind == "held":
        gate.wait(60)
    return "done"


def make_app() -> Any:
    """The service."""
    from fastapi import FastAPI, HTTPException

    app = FastAPI()

    @app.get("/{kind}")
    async def answer(kind: str) -> str:
        """503 at once when too many wait; 500 for the one whose worker died."""
        try:
            return await work.submit(kind, gate)
        except Overloaded as full:
            raise HTTPException(503, str(full)) from None
        except WorkerDied as died:
            raise HTTPException(500, str(died)) from None

    return app
