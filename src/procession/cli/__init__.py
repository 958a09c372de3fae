"""The command line: ``procession doctor``, ``check`` and ``profile``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

__all__ = ["main"]


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
    from procession.cli.run_profiled import run_profiled

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
