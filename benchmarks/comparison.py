"""Procession, ProcessPoolExecutor, joblib, pebble and Ray: what happens under fault, and how fast.

    python benchmarks/comparison.py [--only faults|speed] [--save benchmarks/results/comparison.md]

Each fault is a program of its own, with two workers and eight items, one or two of them bad. It is
told how many of the other results the caller has got when the call is over, or "hangs" after 60
seconds. Each contestant is used as its documentation says. The speeds are ratios to Procession:
contestants take turns in one process, and the minimum of seven rounds counts. What is not installed
is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import multiprocessing
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

COMMON = """
import os, signal, sys, threading, time
class Odd(Exception):
    def __init__(self, name, number):
        super().__init__(name)
BAD = {items}
def f(i):
    if i in BAD:
        {bad}
    time.sleep(0.2)
    return i
good = 0
def got(x):
    global good
    good += x in range(8) and x not in BAD
"""

RUN = {
    "Procession": """
from procession import parallel
for outcome in parallel(workers=2, timeout={timeout})(f).outcomes(range(8)):
    if outcome.ok: got(outcome.value)
print("got", good, flush=True)
""",
    "ProcessPoolExecutor": """
from concurrent.futures import ProcessPoolExecutor, wait
if __name__ == "__main__":
    pool = ProcessPoolExecutor(2)
    futures = [pool.submit(f, i) for i in range(8)]
    for future in futures:
        try: got(future.result(timeout={timeout}))
        except BaseException: pass
    print("got", good, flush=True)
    os._exit(0)
""",
    "joblib": """
import joblib
try:
    results = joblib.Parallel(2, timeout={timeout}, return_as="generator")(
        joblib.delayed(f)(i) for i in range(8))
    for x in results: got(x)
except BaseException: pass
print("got", good, flush=True)
os._exit(0)
""",
    "pebble": """
from pebble import ProcessPool
if __name__ == "__main__":
    pool = ProcessPool(2)
    futures = [pool.schedule(f, args=[i], timeout={timeout}) for i in range(8)]
    for future in futures:
        try: got(future.result())
        except BaseException: pass
    print("got", good, flush=True)
    os._exit(0)
""",
    "Ray": """
import logging, ray
ray.init(num_cpus=2, log_to_driver=False, logging_level=logging.CRITICAL, include_dashboard=False)
remote = ray.remote(max_retries=0)(f)
for ref in [remote.remote(i) for i in range(8)]:
    try: got(ray.get(ref, timeout={timeout}))
    except BaseException: pass
print("got", good, flush=True)
ray.shutdown()
os._exit(0)
""",
}

FAULTS = {
    "an item raises": ("[2]", "raise ValueError(i)"),
    "an item calls `sys.exit`": ("[2]", "sys.exit(3)"),
    "an item's process is killed": ("[2]", "os.kill(os.getpid(), signal.SIGKILL)"),
    "two items hang, with a timeout of 5 s": ("[2, 3]", "time.sleep(600)"),
    "an item returns a lock": ("[2]", "return threading.Lock()"),
    "an item raises what does not unpickle": ("[2]", "raise Odd('odd', 1)"),
}

PARENT_KILLED = COMMON.format(items="[]", bad="pass").replace("time.sleep(0.2)", "time.sleep(60)")


def installed(name: str) -> bool:
    """Whether a contestant can take part."""
    modules = {"ProcessPoolExecutor": "concurrent.futures", "Procession": "procession"}
    return importlib.util.find_spec(modules.get(name, name.lower())) is not None


@contextlib.contextmanager
def running(program: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A program, and the mark that it and what it starts have in their environment."""
    mark = f"{os.getpid()}_{time.monotonic_ns()}"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "COMPARISON_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as process:
        try:
            yield process, mark
        finally:
            for pid in busy(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def run(program: str, seconds: float = 60.0) -> str:
    """What a program says it has got. What it leaves behind is ended then."""
    end = time.monotonic() + seconds
    with running(program) as (process, _):
        assert process.stdout is not None
        while select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            line = process.stdout.readline().decode()
            if line.startswith("got "):
                return line.split()[1]
            if not line:
                return "fails"
    return "hangs"


def survivors(program: str) -> str:
    """How many of a program's processes still run three seconds after it was killed."""
    with running(program) as (process, mark):
        deadline = time.monotonic() + 40
        while len(busy(mark)) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        process.kill()
        process.wait()
        time.sleep(3)
        return str(len(busy(mark)))


def busy(mark: str) -> list[int]:
    """Processes that carry the mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def faults(names: list[str]) -> list[list[str]]:
    """A row for each fault: how many of the other results arrived."""
    rows = []
    for what, (items, bad) in FAULTS.items():
        row = [what]
        others = 8 - len(items.split(","))
        for name in names:
            body = RUN[name].format(timeout=5 if "hang" in what else 50)
            got = run(COMMON.format(items=items, bad=bad) + body)
            # Spaces at which no line breaks.
            row.append(f"{got}\xa0of\xa0{others}" if got.isdecimal() else got)
            print(what, name, row[-1], file=sys.stderr, flush=True)
        rows.append(row)
    row = ["processes 3 s after `kill -9` of the program"]
    for name in names:
        row.append(survivors(PARENT_KILLED + RUN[name].format(timeout=50)))
        print(row[0], name, row[-1], file=sys.stderr, flush=True)
    rows.append(row)
    return rows


def no_op(x: Any) -> Any:
    """As little as can be done."""
    return x


def spin(seconds: float) -> int:
    """Compute for so many seconds of CPU time."""
    end, steps = time.thread_time() + seconds, 0
    while time.thread_time() < end:
        steps += 1
    return steps


def first(block: Any) -> float:
    """Look at one element."""
    return float(block[0])


Case = tuple[Callable[[Any], Any], list[Any]]


def contestants(names: list[str]) -> dict[str, Callable[[Case], Any]]:
    """How each maps a function over items, with its pool open and at its defaults."""
    found: dict[str, Callable[[Case], Any]] = {}
    forkserver = multiprocessing.get_context("forkserver")
    if "Procession" in names:
        from procession import parallel

        # One look at an array is done sooner here than sent; how it is sent is to be measured.
        decorated = functools.cache(
            lambda function: parallel(workers=2, inline=False if function is first else "auto")(
                function
            )
        )
        found["Procession"] = lambda case: decorated(case[0]).map(case[1])
    if "ProcessPoolExecutor" in names:
        from concurrent.futures import ProcessPoolExecutor

        executor = ProcessPoolExecutor(2, mp_context=forkserver)  # this process has threads
        found["ProcessPoolExecutor"] = lambda case: list(executor.map(case[0], case[1]))
    if "joblib" in names:
        import joblib

        found["joblib"] = lambda case: joblib.Parallel(2)(
            joblib.delayed(case[0])(item) for item in case[1]
        )
    if "pebble" in names:
        from pebble import ProcessPool

        pool = ProcessPool(2, context=forkserver)
        found["pebble"] = lambda case: list(pool.map(case[0], case[1]).result())
    if "Ray" in names:
        import logging

        import ray

        ray.init(
            num_cpus=2,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            include_dashboard=False,
        )
        remote: Any = functools.cache(ray.remote)
        found["Ray"] = lambda case: ray.get([remote(case[0]).remote(x) for x in case[1]])
    return found


def speed(names: list[str]) -> list[list[str]]:
    """A row for each case: the time, and how many times as long the others take.

    Ray keeps processes at work, which would slow the others down. So it takes turns with Procession
    alone, when the others are done.
    """
    others = [name for name in names if name != "Ray"]
    rows = measured(others)
    if "Ray" in names:
        for row, (*_, ratio) in zip(rows, measured(["Procession", "Ray"]), strict=True):
            row.append(ratio)
    return rows


def measured(names: list[str], rounds: int = 7) -> list[list[str]]:
    """The rows of some contestants that take turns."""
    import numpy as np

    def arrays() -> list[Any]:
        return [np.random.default_rng(seed).random(2_500_000) for seed in range(8)]

    cases: dict[str, Callable[[], Case]] = {
        "2,000 items of no work": lambda: (no_op, list(range(2_000))),
        "100 items of 10 ms": lambda: (spin, [0.01] * 100),
        "8 arrays of 20 MB, sent": lambda: (first, arrays()),
    }
    rows = []
    maps = contestants(names)
    for what, make in cases.items():
        best = dict.fromkeys(names, float("inf"))
        for _ in range(rounds):
            for name in names:
                case = make()
                begun = time.perf_counter()
                maps[name](case)
                best[name] = min(best[name], time.perf_counter() - begun)
        ours = best["Procession"]
        row = [f"{what}: {ours * 1e3:.{0 if ours >= 0.01 else 1}f} ms"]
        row += [f"{best[name] / ours:.1f}\xa0×" for name in names]
        print(row, file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def table(names: list[str], rows: list[list[str]]) -> str:
    """Rows as Markdown."""
    lines = [["", *names], ["---"] * (len(names) + 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["faults", "speed"])
    parser.add_argument("--save", type=Path)
    chosen = parser.parse_args()
    names = [name for name in RUN if installed(name)]
    parts = [
        f"Python {platform.python_version()}, {os.cpu_count()} processors, {platform.system()}, "
        f"load average {os.getloadavg()[0]:.1f} when it began.",
    ]
    if chosen.only != "speed":
        parts.append(table(names, faults(names)))
    if chosen.only != "faults":
        shm = "/dev/shm" if os.path.isdir("/dev/shm") else None  # joblib's own choice
        with tempfile.TemporaryDirectory(dir=shm, ignore_cleanup_errors=True) as folder:
            os.environ["JOBLIB_TEMP_FOLDER"] = folder  # it stays where joblib's workers do not end
            parts.append(table(names, speed(names)))
    text = "\n\n".join(parts) + "\n"
    print(text)
    if chosen.save:
        chosen.save.write_text(text)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # pools of the others may not end
