"""What a worker imports for a function is known without importing it, and so is how long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from procession.functions.needs import modules_to_import, needed_modules

SCRIPT = """
import json.decoder, math, sys
from collections import OrderedDict
from procession import parallel
from procession.functions.needs import needed_modules
LIMIT = 3
class Meta(type):
    def __getattribute__(cls, name): raise RuntimeError(name)
class Odd(metaclass=Meta): pass
def uses(x):
    return json.dumps(x), math.sqrt(x), OrderedDict(), LIMIT, Odd, [len(y) for y in sys.path]
print(*needed_modules(uses))
"""


def test_of_a_script() -> None:
    """A function that goes by value needs the modules of what it uses, and no others."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["collections", "json", "math", "sys"]


def test_of_a_module() -> None:
    """Any other needs its own; what is no function tells nothing."""
    assert needed_modules(needed_modules) == (needed_modules.__module__,)
    assert needed_modules(len) == ()
    assert needed_modules(object()) == ()


def test_what_is_python_itself_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library takes as much as all that the program has loaded, beside Python's own modules."""
    before = modules_to_import(test_of_a_module)
    for number in range(100):
        monkeypatch.setitem(sys.modules, f"library_{number}", ModuleType(f"library_{number}"))

    assert modules_to_import(json.dumps) == 0
    assert modules_to_import(needed_modules) == 0
    assert modules_to_import(test_of_a_module) == before + 100


WORKER = """
import os, sys
from pathlib import Path
from procession import Pool, parallel
import slow

@parallel(inline=False, workers=2, chunk=1)
def who(x): return os.getpid(), slow.VALUE

if sys.argv[1] == "first":
    found = who.map(range(8))
    print(len({pid for pid, _ in found}), {value for _, value in found})
else:
    def set_up(): os.environ["SLOW_VALUE"] = "set up"
    print({value for _, value in who.with_options(initializer=set_up).map(range(4))})
"""

SLOW = """
import os
VALUE = os.environ.get("SLOW_VALUE", "as it was")
if os.getppid() != int(os.environ["CALLER"]):  # in a worker
    folder = os.environ["FOLDER"]
    try:
        os.mkdir(os.path.join(folder, "taken"))
    except FileExistsError:
        pass
    else:
        while not os.path.exists(os.path.join(folder, "done")):
            os.sched_yield()
"""


@pytest.mark.parametrize(("kind", "told"), [("first", "1 {'as it was'}"), ("last", "{'set up'}")])
def test_a_worker_imports_before_it_is_given_items(kind: str, told: str, tmp_path: Path) -> None:
    """One that still imports keeps no item from the others; an initializer comes before that."""
    (tmp_path / "slow.py").write_text(SLOW)
    script = WORKER
    if kind == "first":  # the one that waits is let go once all items are done
        script = script.replace(
            "print(len", 'Path(os.environ["FOLDER"], "done").touch()\n    print(len'
        )
    else:
        (tmp_path / "done").touch()
    (tmp_path / "script.py").write_text(script)
    code = "import os, runpy, sys\nos.environ['CALLER'] = str(os.getppid())\nsys.argv[1:2] = []\n"
    code += "runpy.run_path('script.py', run_name='__main__')\n"
    done = subprocess.run(
        [sys.executable, "-c", code, "-", kind],
        cwd=tmp_path,
        env={**os.environ, "FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == told, done.stderr
