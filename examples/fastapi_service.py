"""A FastAPI service with a bounded queue, a deadline for each request, and a clean end.

    uvicorn fastapi_service:app --app-dir examples

POST /thumbprint hashes what it is sent, slowly. A crash of one request (the body ``crash``) is a
500 for that request alone; too many at once are 503; what takes too long is 504. GET /metrics tells
what the pool does. SIGTERM ends the service when the requests under way are answered.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import AsyncGenerator

from fastapi import FastAPI, HTTPException, Request

import procession
from procession import DeadlineExceeded, Overloaded, TimedOut, WorkerDied, parallel


@parallel(workers=2, max_pending=2, deadline=5, timeout=4)
def thumbprint(body: bytes) -> str:
    """Slow on purpose, and deadly for one body."""
    if body == b"crash":
        os._exit(1)
    if body == b"hang":
        time.sleep(600)
    return hashlib.pbkdf2_hmac("sha256", body, b"salt", 200_000).hex()[:16]


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """At the end: take no new calls, and let those under way finish."""
    yield
    procession.shutdown(drain=10)


app = FastAPI(lifespan=lifespan)


@app.post("/thumbprint")
async def post_thumbprint(request: Request) -> dict[str, str]:
    """Hash the body in a worker; the event loop is free meanwhile."""
    try:
        return {"thumbprint": await thumbprint.submit(await request.body())}
    except Overloaded as error:
        raise HTTPException(503, f"{error.pending} requests wait already") from None
    except (DeadlineExceeded, TimedOut):
        raise HTTPException(504, "this took too long") from None
    except WorkerDied:
        raise HTTPException(500, "this request crashed its worker") from None


@app.get("/metrics")
async def metrics() -> dict[str, dict[str, int]]:
    """Plain numbers of each pool."""
    return procession.stats()
