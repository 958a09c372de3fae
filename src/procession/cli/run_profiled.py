"""``procession profile``: run a script as Python would, under `procession.profile`."""

from __future__ import annotations

import json as json_module
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType

__all__ = ["run_profiled"]


def run_profiled(
    script: str, arguments: list[str], output: str | None = None, *, json: bool = False
) -> int:
    """Run a script, print the summary, and save the page.

    The script finds ``__main__``, ``sys.argv`` and ``sys.path`` as if Python had been given it.

    Args:
        script: A Python file.
        arguments: What it finds in ``sys.argv[1:]``.
        output: Where the page goes (``.html``), or the trace (``.json``); by default the script's
            name with ``.profile.html``, in the working directory.
        json: Print the figures as JSON, to stdout.

    Returns:
        The script's own exit code; 1 if it raised; 2 if it cannot be read.
    """
    from procession.profiling import profile

    page = Path(output or Path(script).stem + ".profile.html")
    if page.suffix.lower() not in (".html", ".json"):
        print(f"procession profile: --output {page} must end in .html or .json.", file=sys.stderr)
        return 2
    try:
        source = Path(script).read_bytes()
    except OSError as error:
        print(f"procession profile: {script} cannot be read: {error.strerror}.", file=sys.stderr)
        return 2
    with profile() as recorded:
        code = _run(script, source, arguments)
    recorded.save(page)
    if json:
        print(json_module.dumps({"exit_code": code, "page": str(page), "summary": str(recorded)}))
    else:
        print(f"{recorded.summary()}\n\nSaved {page}", file=sys.stderr)
    return code


def _run(script: str, source: bytes, arguments: list[str]) -> int:
    main = ModuleType("__main__")
    main.__dict__.update(__file__=script, __builtins__=__builtins__)
    sys.argv[:] = [script, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    sys.modules["__main__"] = main
    try:
        exec(compile(source, script, "exec"), main.__dict__)
    except SystemExit as exit_:
        return _exit_code(exit_)
    except BaseException as error:
        traceback.print_exception(type(error), error, _own(error.__traceback__))
        return 1
    return 0


def _exit_code(exit_: SystemExit) -> int:
    if exit_.code is None or isinstance(exit_.code, int):
        return exit_.code or 0
    print(exit_.code, file=sys.stderr)
    return 1


def _own(steps: TracebackType | None) -> TracebackType | None:
    """A traceback from the script's first line on."""
    return steps.tb_next if steps is not None else None
