"""Items that end their worker, in a module that imports less than that of the tests."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from procession import parallel
from tests.support.waiting import wait_for_file


@parallel(backend="stdlib", workers=2, inline=False)
def die_when_told(folder: Path) -> None:
    """End the worker when a file is there."""
    (folder / "running").touch()
    wait_for_file(folder / "go")
    os._exit(3)


@parallel(inline=False)
def die_amid_the_answer(number: int) -> list[str]:
    """End the worker when it has begun to send the answer, and waits for it to be read."""

    def strike() -> None:
        doing = Path(f"/proc/self/task/{os.getpid()}/syscall")
        while True:
            call = doing.read_text().split()
            if call[0] in {"1", "64"} and int(call[3], 16) > 2**20:  # write, by its number
                os.kill(os.getpid(), signal.SIGKILL)

    if number == 1:
        threading.Thread(target=strike).start()
        return [str(each) * 40 for each in range(100_000)]
    return []


@parallel(inline=False, chunk=1)
def die_if_zero(number: int) -> int:
    """End the worker, for one of them."""
    if not number:
        os._exit(3)
    return number
