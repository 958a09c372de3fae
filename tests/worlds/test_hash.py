"""All workers of a program hash as one, whatever they were started by, and in each call."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds.running import run

HASHES = """
    import os, subprocess, sys
    import procession
    from procession import isolated, parallel

    def look(name):
        return hash(name), tuple({"a", "b", "c", name}), os.environ.get("PYTHONHASHSEED")

    found = set()
    def ask(**options):
        f = parallel(workers=2, inline=False, chunk=1, **options)(look)
        found.update(f.map(["u"] * 4))

    ask()
    found.add(isolated(look)("u"))
    ask(context="spawn")
    procession.shutdown()
    ask()
    ask(backend="loky")
    ask(backend="loky", timeout=30)
    ask(backend="stdlib")
    print(len(found), found.pop() == look("u"), os.environ.get("PYTHONHASHSEED"))
    code = "import os; print(os.environ.get('PYTHONHASHSEED'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    print(done.stdout, end="")
"""


@pytest.mark.parametrize(
    ("seed", "told"),
    [(None, ["1 False None", "None"]), ("0", ["1 True 0", "0"])],
)
def test_all_workers_hash_alike(tmp_path: Path, seed: str | None, told: list[str]) -> None:
    """One hash from all backends, start methods and calls; the caller's own where that is fixed."""
    assert run(HASHES, folder=tmp_path, PYTHONHASHSEED=seed) == told


def test_a_function_that_hashes_runs_in_workers_only(tmp_path: Path) -> None:
    """With `inline="auto"` no items of such a map run here, and a warning says so, once."""
    program = """
        import hashlib, os, warnings
        from procession import parallel

        def shard(name):
            return hash(name) % 1000, os.getpid() == caller
        def deep(name):
            return sum(map(lambda each: hash(each), [name]))
        def digest(name):
            return hashlib.sha256(name.encode()).hexdigest(), name.hash if 0 else 0

        caller = os.getpid()
        for function in (shard, deep, digest):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                f = parallel(workers=2)(function)
                results = set(f.map(["u"] * 20)) | set(f.imap(["u"] * 300))
            ours = [w for w in said if w.filename.endswith("program.py")]
            print(len(results), [str(warning.message)[:14] for warning in ours])
    """
    assert run(program, folder=tmp_path, PYTHONHASHSEED=None) == [
        "1 ['shard() uses h']",
        "1 ['deep() uses ha']",
        "1 []",
    ]


def test_no_warning_where_this_process_hashes_alike(tmp_path: Path) -> None:
    """A program with a fixed seed runs such functions anywhere."""
    program = """
        from procession import parallel

        def shard(name):
            return hash(name)

        f = parallel(workers=2)(shard)
        g = parallel(workers=2, inline=False)(shard)
        print(set(f.map(["u"] * 20)) == set(g.map(["u"] * 20)))
    """
    lines = run(program, "-W", "error", folder=tmp_path, PYTHONHASHSEED="3")
    assert lines == ["True"]


def test_an_interpreter_that_cannot_be_executed_is_told(tmp_path: Path) -> None:
    """The error of the system arrives as itself, with the path."""
    from procession.process.start.hash_seed import execute

    missing = tmp_path / "python"
    with pytest.raises(FileNotFoundError, match="python"):
        execute(str(missing), [str(missing)], [])
