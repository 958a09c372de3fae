"""Whose word counts for the thread pools of OpenMP and BLAS in workers."""

from __future__ import annotations

from pathlib import Path

from tests.worlds.running import run

PROGRAM = """
import os, sys
from procession import isolated, parallel, Pool
from procession.system.resources import usable_cpus

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")

def seen(x):
    return "".join(os.environ.get(name, "-") for name in NAMES)

default = str(usable_cpus())
own = "7" + default + "5"
places = [
    {"inline": False},
    {"inline": False, "context": "spawn"},
    {"inline": False, "context": "fork"},
    {"inline": False, "backend": "loky"},
    {"inline": False, "backend": "stdlib"},
    {"inline": False, "timeout": 20},
]
for options in places:
    f = parallel(workers=1, **options)(seen)
    asked = f.with_options(threads_per_worker=3)
    print(f.map([0]) == [own], asked.map([0]) == ["333"])
print(isolated(workers=1)(seen)(0) == own, isolated(threads_per_worker=3)(seen)(0))
with Pool(1) as pool:
    print(pool.submit(seen, 0).result() == own)
f = parallel(workers=1, inline=False)(seen)
os.environ["OMP_NUM_THREADS"] = "9"
print(f.map([0]) == ["9" + default + "5"])
del os.environ["OMP_NUM_THREADS"], os.environ["NUMEXPR_NUM_THREADS"]
print(f.map([0]) == [3 * default])
"""

OPERATOR = """
import os
from procession import parallel

def seen(x):
    return os.environ["OMP_NUM_THREADS"]

print(parallel(workers=1, inline=False)(seen).map([0]))
"""


def test_the_user_s_variables_win_over_the_default(tmp_path: Path) -> None:
    """One by one, however workers start; an option that was written wins over them."""
    printed = run(
        PROGRAM,
        folder=tmp_path,
        OMP_NUM_THREADS="7",
        NUMEXPR_NUM_THREADS="5",
        OPENBLAS_NUM_THREADS=None,
    )
    assert printed == ["True True"] * 6 + ["True 333", "True", "True", "True"]


def test_an_operator_s_option_wins_over_them(tmp_path: Path) -> None:
    """The environment form is an option that was written."""
    variables = {"OMP_NUM_THREADS": "7", "PROCESSION_THREADS_PER_WORKER": "4"}
    assert run(OPERATOR, folder=tmp_path, limit=60, quiet=True, path=None, **variables) == ["['4']"]


LOADED = """
import numpy, os, threadpoolctl
from procession import parallel

def seen(x):
    return [each["num_threads"] for each in threadpoolctl.threadpool_info()]

here = seen(0)
f = parallel(workers=2, inline=False, context="fork")(seen)
print(f.map([0]) == [here], f.with_options(threads_per_worker=1).map([0]) == [[1] * len(here)])
"""


def test_what_a_forked_worker_inherits_is_left_as_the_user_wanted_it(tmp_path: Path) -> None:
    """numpy has read the user's variable when it was loaded, and keeps to it in workers."""
    variables = {"OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    assert run(LOADED, folder=tmp_path, limit=60, quiet=True, path=None, **variables) == [
        "True True"
    ]
