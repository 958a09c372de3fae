"""Runs a function in a fresh process, by what `procession.wire` sends and nothing else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from procession.functions.loading import load_function
from procession.functions.packed_function import dump_function
from procession.pickling.exceptions import dump_exception, load_exception
from procession.pickling.pickler import Pickling, dumps, loads
from tests.support.project import ROOT

__all__ = ["Far", "run_script"]


class Far:
    """A process that runs what it is sent; a context manager."""

    def __init__(self, pickling: Pickling = "strict", path: str | None = None) -> None:
        self.pickling: Pickling = pickling
        script = "from tests.support.far import serve; serve()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=path or ROOT,
            env=environment(),
        )

    def __enter__(self) -> Far:
        return self

    def __exit__(self, *args: object) -> None:
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0

    def call(self, function: Callable[..., Any], *args: Any, decorated: Any = None) -> Any:
        """Call `function` there; what it raises is raised here."""
        payload = dump_function(function, decorated, self.pickling)
        return self.send(payload, dumps(args, self.pickling))

    def send(self, payload: bytes, args: bytes) -> Any:
        """Have a payload and arguments loaded and run there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump((payload, args, self.pickling), self.process.stdin)
        self.process.stdin.flush()
        ok, blob = pickle.load(self.process.stdout)
        if ok:
            return loads(blob)
        raise load_exception(blob)


def serve() -> None:
    """The far side: run what comes on stdin until it ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what functions print must not look like a reply
    while True:
        try:
            payload, args, pickling = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            reply = True, dumps(load_function(payload)(*loads(args)), pickling)
        except BaseException as error:
            reply = False, dump_exception(error, pickling)
        pickle.dump(reply, replies)
        replies.flush()


def environment() -> dict[str, str]:
    """The environment in which a fresh process finds procession and these tests."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def run_script(folder: Path, text: str, name: str = "script.py") -> str:
    """Run a script as ``__main__``, and give what it printed."""
    script = folder / name
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
