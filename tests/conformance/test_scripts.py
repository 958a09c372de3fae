"""Programs with no name guard, in every form in which Python runs code, at every place."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conformance.places import ADDRESSES, PROCESSES, WORKERS, Place
from tests.support.project import ROOT

PROGRAM = """
from dataclasses import dataclass
import procession

print("the body runs")

@dataclass
class Job:
    name: str
    size: int

    @procession.parallel(OPTIONS)
    def grow(self, by):
        return Job(self.name, self.size + by)

FACTOR = 3

def helper(x):
    return x * FACTOR

@procession.parallel_map(OPTIONS)
def work(job):
    return Job(job.name, helper(job.size))

class Special(Exception):
    pass

@procession.parallel(OPTIONS)
def fail(x):
    raise Special(x)

jobs = [Job("a", 1), Job("b", 2)]
print(work(jobs) == [Job("a", 3), Job("b", 6)])
print(Job("c", 1).grow.map([1, 2]))
print(type(work(jobs)[0]) is Job)
(outcome,) = fail.outcomes([1])
print(type(outcome.error) is Special)
FACTOR = 5
print(work(jobs)[0].size)
"""

EXPECTED = [
    "the body runs",
    "True",
    "[Job(name='c', size=2), Job(name='c', size=3)]",
    "True",
    "True",
    "5",
]


def program(place: Place | None) -> str:
    """The program's text, for a place or for the defaults."""
    options = "workers=2"
    if place is not None:
        options = f"workers={WORKERS}, backend={place.backend!r}"
        if place.context is not None:
            options += f", context={place.context!r}"
        if place.cluster in ADDRESSES:
            options += f", address={ADDRESSES[place.cluster]!r}"
    return PROGRAM.replace("OPTIONS", options)


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the library importable."""
    path = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **more}


def run(*arguments: str, text: str | None = None, cwd: Path | None = None) -> list[str]:
    """Run the interpreter; give the lines it printed. Its stderr must be empty."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=environment(),
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.parametrize("place", [None, *PROCESSES], ids=lambda place: str(place or "default"))
def test_an_unguarded_script(place: Place | None, tmp_path: Path) -> None:
    """A file with no `if __name__ == "__main__"`: its body runs once, its classes come home."""
    script = tmp_path / "script.py"
    script.write_text(program(place))
    assert run(str(script)) == EXPECTED


FAILING = """
import traceback, warnings
import procession

class Tool:
    @procession.parallel(workers=2)
    def use(self, x):
        warnings.warn("odd", stacklevel=1)
        return 1 / x  # the tool's line

def helper(x):
    raise KeyError(x)  # the helper's line

@procession.parallel(workers=2)
def work(x):
    return helper(x)  # the work's line

for call in (Tool().use, work):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        error = call.submit(0).exception()
    print([warning.filename == __file__ for warning in caught])
    print("".join(traceback.format_exception(error)))
"""


def test_the_source_lines_of_a_script_s_functions(tmp_path: Path) -> None:
    """What goes by value keeps its file: tracebacks and warnings show the user's own lines."""
    script = tmp_path / "script.py"
    script.write_text(FAILING)
    out = run(str(script))
    assert out.count("[True]") == 1
    text = "\n".join(out)
    for name in ("tool", "work", "helper"):
        assert f"  # the {name}'s line" in text
    assert text.count(f'File "{script}"') >= 3


@pytest.mark.parametrize(
    "place",
    [None, Place("process", "spawn"), Place("loky"), Place("stdlib", "forkserver")],
    ids=lambda place: str(place or "default"),
)
def test_a_command_line_program(place: Place | None) -> None:
    """`python -c`."""
    assert run("-c", program(place)) == EXPECTED


@pytest.mark.parametrize("place", [None, Place("process", "spawn"), Place("stdlib", "forkserver")])
def test_a_program_on_standard_input(place: Place | None) -> None:
    """`python < script`."""
    assert run("-", text=program(place)) == EXPECTED


@pytest.mark.parametrize("place", [None, Place("process", "spawn"), Place("stdlib", "forkserver")])
def test_a_module_run_as_a_program(place: Place | None, tmp_path: Path) -> None:
    """`python -m package.module`, which has relative imports."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "constants.py").write_text("FACTOR_OF_MODULE = 3\n")
    (package / "module.py").write_text("from .constants import FACTOR_OF_MODULE\n" + program(place))
    assert run("-m", "package.module", cwd=tmp_path) == EXPECTED


def test_a_folder_run_as_a_program(tmp_path: Path) -> None:
    """`python folder`, which holds a `__main__.py`."""
    (tmp_path / "__main__.py").write_text(program(None))
    assert run(str(tmp_path)) == EXPECTED


def test_an_interactive_session() -> None:
    """`python -i`, fed line by line: functions and classes are redefined as one goes."""
    session = """
        import procession
        @procession.parallel_map(workers=2)
        def f(x):
            return x + 1

        f([1, 2, 3])
        @procession.parallel_map(workers=2)
        def f(x):
            return x * 10

        f([1, 2, 3])
        f.submit(4).result()
        """
    ran = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=textwrap.dedent(session),
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(PYTHON_BASIC_REPL="1"),
        check=False,
    )
    assert ran.stdout.splitlines() == ["[2, 3, 4]", "[10, 20, 30]", "40"], ran.stderr


EXECUTE = """
import sys
import nbclient, nbformat

cells = sys.stdin.read().split("# next cell\\n")
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.outputs:
        print(output.get("text", output), end="")
"""


LATER_CELLS = [
    """
old = jobs[0]
@procession.parallel
def work(job):
    return job, Job("new", 1)
came, made = work.submit(old).result()
print(type(came) is Job, made.name)
""",
    """
@dataclass
class Job:
    name: str
@procession.parallel
def work(job):
    return job, Job("newer")
came, made = work.submit(old).result()
print(type(came) is type(old), type(made) is Job, type(came) is Job)
""",
    """
import traceback
error = fail.submit(1).exception()
print("raise Special(x)" in "".join(traceback.format_exception(error)))
""",
    """
@procession.parallel
def scaled(x):
    return helper(x)
print(await scaled.submit(2), [x async for x in scaled.aimap([3, 4])])
procession.shutdown()
""",
]


def test_a_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cells of a notebook, run by a real kernel; a global may change in a later cell."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = [program(None), "FACTOR = 7", "print(work(jobs)[0].size)", *LATER_CELLS]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EXECUTE],
        input="\n# next cell\n".join(cells),
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
    )
    expected = [*EXPECTED, "7", "True new", "True True False", "True", "14 [21, 28]"]
    assert ran.stdout.splitlines() == expected, ran.stderr


def test_code_executed_in_main() -> None:
    """`exec` in `__main__`'s namespace, which is what consoles and notebooks do."""
    text = f"exec({program(None)!r}, globals())"
    assert run("-c", text) == EXPECTED


# ------------------------------------------------------------------- operator's overrides


OVERRIDDEN = """
import os, procession

@procession.parallel_map(workers=2, backend="loky")
def where(x):
    return os.getpid()

print(set(where(range(4))) == {os.getpid()})
print(where.options.backend, where.options.workers, where.options.chunk)
"""


def test_the_environment_overrides_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PROCESSION_BACKEND=serial` runs any program in one process, to be debugged."""
    monkeypatch.setenv("PROCESSION_BACKEND", "serial")
    monkeypatch.setenv("PROCESSION_CHUNK", "3")
    assert run("-c", OVERRIDDEN) == ["True", "serial 2 3"]


def test_without_an_override_the_code_decides() -> None:
    """The same program, with nothing in the environment."""
    assert run("-c", OVERRIDDEN) == ["False", "loky 2 auto"]


LIMITED = """
import os, procession

@procession.parallel_map(workers=2, backend="loky", timeout=60)
def where(x):
    return os.getpid()

import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(set(where(range(4))) == {os.getpid()})
    print(set(where(range(4))) == {os.getpid()})
print([warning.category.__name__ for warning in caught])
"""


def test_an_override_that_cannot_honour_a_limit_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serial has no timeout: the program runs without it, and is told once."""
    monkeypatch.setenv("PROCESSION_BACKEND", "serial")
    assert run("-c", LIMITED) == ["True", "True", "['ParallelWarning']"]


def test_a_bad_override_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be read is an error at first use, with the variable's name."""
    monkeypatch.setenv("PROCESSION_WORKERS", "many")
    text = """
import procession

@procession.parallel_map
def f(x):
    return x

try:
    f([1])
except procession.OptionError as error:
    print("PROCESSION_WORKERS" in str(error))
"""
    assert run("-c", text) == ["True"]


# --------------------------------------------------------------------- the end of a program


@pytest.mark.parametrize(
    ("place", "ending"),
    [
        *((place, "") for place in (None, *PROCESSES)),
        *((place, "raise SystemExit(0)") for place in (None, PROCESSES[-1])),
        *((place, "del work, Job") for place in (None, PROCESSES[-1])),
    ],
    ids=lambda given: str(given or "default"),
)
def test_programs_end(place: Place | None, ending: str) -> None:
    """A program that leaves its pools and iterators open ends by itself, in silence."""
    opened = "left_open = fail.with_options(chunk=1).outcomes(range(100))\nnext(left_open)\n"
    assert run("-c", program(place) + opened + ending) == EXPECTED


@pytest.mark.parametrize("place", [None, *PROCESSES], ids=lambda place: str(place or "default"))
def test_a_program_that_is_killed_leaves_no_worker(place: Place | None, tmp_path: Path) -> None:
    """SIGKILL of the parent, with workers in C code that never gives way: all end by themselves."""
    import psutil

    options = "workers=2"
    if place is not None and place.cluster == "dask-local":
        pytest.skip("its folder stays until the next local cluster removes it")
    if place is not None:
        options += f", backend={place.backend!r}"
        if place.cluster in ADDRESSES:
            options += f", address={ADDRESSES[place.cluster]!r}"
        options += f", context={place.context!r}" if place.context is not None else ""
    text = f"""
import os, pathlib, procession

@procession.parallel({options})
def busy(path):
    pathlib.Path(path).write_text(str(os.getpid()))
    sum(range(10**12))

futures = [busy.submit({str(tmp_path)!r} + name) for name in ("/a", "/b")]
print("started", flush=True)
futures[0].result()
"""
    with subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as parent:
        from tests.support.waiting import wait_until

        marks = [tmp_path / "a", tmp_path / "b"]
        try:
            wait_until(lambda: all(mark.exists() and mark.read_text() for mark in marks))
        finally:
            family = psutil.Process(parent.pid).children(recursive=True)
            parent.kill()
        workers = [psutil.Process(int(mark.read_text())) for mark in marks if _alive(mark)]
    _, alive = psutil.wait_procs({*family, *workers}, timeout=20)
    for process in alive:
        process.kill()
    assert not alive, f"still there: {alive}"


def _alive(mark: Path) -> bool:
    import psutil

    return bool(psutil.pid_exists(int(mark.read_text())))


OWN_LINES = """
import warnings
import procession

@procession.parallel(OPTIONS)
def warn(x):
    warnings.warn("careful")

@procession.parallel(OPTIONS)
def fail(x):
    raise LookupError(x)  # this very line

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    warn.map([1])
print([(str(each.message), each.filename == __file__, each.lineno) for each in caught])
try:
    fail.map([1])
except LookupError as error:
    import traceback
    text = "".join(traceback.format_exception(error))
    print(f'File "{__file__}", line 11, in fail' in text, "# this very line" in text)
"""


@pytest.mark.parametrize("options", ["backend='process', inline=False", "backend='loky'"])
def test_lines_of_a_script(options: str, tmp_path: Path) -> None:
    """Warnings and tracebacks of a script's functions, which go by value, name its own lines."""
    script = tmp_path / "script.py"
    script.write_text(OWN_LINES.replace("OPTIONS", options))
    assert run(str(script)) == ["[('careful', True, 7)]", "True True"]


NO_FILE = """
import warnings
import procession

code = compile("def warn(x): warnings.warn('careful')", "<somewhere>", "exec")
exec(code)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    procession.parallel(inline=False)(warn).map([1])
print([(str(each.message), each.filename) for each in caught])
"""


def test_warnings_of_code_without_a_file() -> None:
    """They come home though no module here has such a file."""
    assert run("-c", NO_FILE) == ["[('careful', '<somewhere>')]"]
