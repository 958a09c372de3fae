"""joblib's own tests of backends, run against Procession's.

joblib installs its tests with itself. They are copied, with Procession's backend in place of the
list of joblib's, and run by a pytest of their own. `DIFFERS` names what is not the same, and why.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import pytest

OWN = Path(joblib.__file__).parent / "test" / "test_parallel.py"
REGISTER = "import procession.joblib; procession.joblib.register()"

LIGHT = """
if "pytest" not in sys.modules:

    class Nothing:
        def __call__(self, *args, **options):
            return args[0] if len(args) == 1 and not options and callable(args[0]) else self

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return self

    sys.modules.update(dict.fromkeys(["pytest", "joblib.testing"], Nothing()))

import pytest
"""
"""For workers, which run no test, but import the module: that takes each half as long."""

DIFFERS = {
    "test_error_capture": "it compares joblib's own pools, as attributes of their backend",
    "test_memmapping_leaks": "it looks for joblib's temporary files, and Procession makes none",
}


def adapted(source: str) -> str:
    """joblib's tests of every backend, for one: ours."""
    for pattern, instead in [
        (r"^import pytest$", LIGHT),
        (r"^    PROCESS_BACKENDS = \[.+\]$", '    PROCESS_BACKENDS = ["procession"]'),
        (r"^PARALLEL_BACKENDS = .*$", 'PARALLEL_BACKENDS = ["procession", "threading"]'),
        (
            r"^ALL_VALID_BACKENDS = .*$",
            f"{REGISTER}\nOURS = procession.joblib.ProcessionBackend\n"
            'ALL_VALID_BACKENDS = ["procession", OURS()]',
        ),
        (r"^ALL_VALID_BACKENDS \+= .*$", ""),
        # It is only asked whether it is there, and half of what each worker's import would take.
        (r"^    import distributed$", "    distributed = True"),
        (r"^    ALL_VALID_BACKENDS.append.*$", "    pass"),
        (
            r"^( *)from joblib import Parallel, delayed(.*)$",
            rf"\1from joblib import Parallel, delayed\2\n\1{REGISTER}",
        ),
    ]:
        source, count = re.subn(pattern, instead, source, flags=re.MULTILINE)
        assert count or "spawn" in pattern or "append" in pattern, pattern
    return source


@pytest.mark.timeout(400)
def test_joblibs_own_tests(tmp_path: Path) -> None:
    """All of joblib's tests that run on any backend of processes pass, but for what differs."""
    copy = tmp_path / "test_parallel_of_joblib.py"
    copy.write_text(adapted(OWN.read_text()))
    chosen = " and ".join(["procession", *(f"not {name}" for name in DIFFERS)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    before = _shared_memory()
    own = subprocess.run(
        [*command, "--tb=short", f"--basetemp={tmp_path / 'own'}", str(copy)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    # Some of the tests start joblib's own loky, and kill what would clean up after it.
    for left in _shared_memory() - before:
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    said = own.stdout + own.stderr
    assert own.returncode == 0, said[-5000:]
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) > 50


def _shared_memory() -> set[Path]:
    """What loky and joblib keep under names in shared memory."""
    folder = Path("/dev/shm")
    return {*folder.glob("sem.loky-*"), *folder.glob("joblib_memmapping_folder_*")}
