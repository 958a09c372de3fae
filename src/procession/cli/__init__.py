"""The command line: ``procession doctor``, ``check`` and ``profile``.

The last one is here: it runs a script as Python would, under `procession.profile`.
"""

from __future__ import annotations

import argparse
import json as json_module
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, TracebackType


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows the program's name; by default this process's.

    Returns:
        The exit code: 0 if all is well, 1 if something is wrong, 2 if the command is.
    """
    chosen = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    command: str = chosen.command
    if command == "doctor":
        from procession.cli.doctor import doctor

        return doctor(json=chosen.json)
    if command == "check":
        from procession.cli.check import check

        return check(chosen.target, json=chosen.json)
    return run_profiled(chosen.script, chosen.arguments, chosen.output, json=chosen.json)


def _parser() -> argparse.ArgumentParser:
    from procession import __version__

    parser = argparse.ArgumentParser(
        prog="procession",
        description="Looks after programs whose functions run in several processes.",
    )
    parser.add_argument("--version", action="version", version=f"procession {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    doctor = commands.add_parser(
        "doctor",
        help="what this machine offers, and whether a call works on each backend",
        description="Looks at processors, limits, memory, start methods and backends, and runs one "
        "call on each backend. Exits with 1 if something is wrong.",
    )
    check = commands.add_parser(
        "check",
        help="whether the decorated functions of a module can run in workers",
        description="Imports a module and looks at each function in it that Procession decorates. "
        "Exits with 1 if one of them cannot run in a worker.",
    )
    check.add_argument("target", metavar="MODULE[:FUNCTION]", help="as in package.module:function")
    profile = commands.add_parser(
        "profile",
        help="run a script, and show where the time of its parallel calls went",
        description="Runs a script under procession.profile(), prints the summary to stderr, and "
        "saves a page with a timeline. Exits as the script does.",
    )
    profile.add_argument("-o", "--output", metavar="FILE", help="the page (.html) or trace (.json)")
    for each in (doctor, check, profile):
        each.add_argument("--json", action="store_true", help="print JSON for other programs")
    profile.add_argument("script", metavar="SCRIPT", help="a Python file")
    profile.add_argument(
        "arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="the script's own"
    )
    return parser


# -- procession profile --------------------------------------------------------------------------


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
