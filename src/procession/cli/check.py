"""``procession check``: whether the decorated functions of a module can run in workers."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from procession.cli.report import Finding, Report
from procession.pickling.objects import text_of
from procession.system import FOLDER
from procession.system.interrupts import strikes

_SLOW = 1.0
"""Seconds from which an import is spoken of: every worker does it again."""

_PATIENCE = 120.0


def check(target: str, *, json: bool = False) -> int:
    """Look at a module's decorated functions and print what was found.

    Args:
        target: ``package.module``, or a Python file; with ``:function`` or ``:Class.method`` for
            one function alone.
        json: Print JSON instead of text.

    Returns:
        The exit code: 1 if a function cannot run in a worker, or the module cannot be imported.
    """
    named, _, only = target.partition(":")
    from procession.errors import ParallelWarning

    warnings.simplefilter("ignore", ParallelWarning)  # each function's own are told below
    report = Report(f"procession check {target}")
    module = _import(_module_name(named), report)
    if module is None:
        return report.show(as_json=json)
    found = [(name, each) for name, each in _decorated(module) if not only or name == only]
    for name, each in found:
        for finding in _about(name, each):
            report.add(f"{module.__name__}.{name}", finding)
    if not found:
        what = f"no {only}" if only else "no function"
        report.add(
            "Functions",
            Finding(
                "nothing to check",
                "wrong" if only else "warning",
                f"{module.__name__} has {what} that Procession decorates.",
                "Name the module in which the functions are defined.",
            ),
        )
    return report.show(as_json=json)


# -- importing the module --------------------------------------------------------------------------


def _module_name(named: str) -> str:
    """A module's name; for a file, that under which its folder's other files would import it."""
    path = Path(named)
    if named.endswith(".py") and path.is_file():
        sys.path.insert(0, str(path.resolve().parent))
        return path.stem
    sys.path.insert(0, os.getcwd())
    return named


def _import(name: str, report: Report) -> ModuleType | None:
    from procession.profiling import profile

    began = time.perf_counter()
    with profile() as recorded:
        try:
            module = importlib.import_module(name)
        except BaseException as error:
            if strikes(error):
                raise
            report.add("Import", _not_imported(name, error))
            return None
    taken = time.perf_counter() - began
    calls = len(recorded.calls)
    if calls:
        report.add("Import", _calls_at_import(module, calls))
    report.add(
        "Import",
        Finding(
            name,
            "warning" if taken > _SLOW else "ok",
            f"imported in {taken:.2f} s",
            "Every worker imports it, too. Move work from the top of modules into functions."
            if taken > _SLOW
            else "",
        ),
    )
    return module


def _not_imported(name: str, error: BaseException) -> Finding:
    own = [
        step
        for step in traceback.extract_tb(error.__traceback__)
        if "importlib" not in step.filename and not step.filename.startswith(FOLDER + os.sep)
    ]
    place = f"{_short(own[-1].filename)}:{own[-1].lineno}" if own else ""
    text = f"cannot be imported: {type(error).__name__}: {text_of(error)}"
    mend = "No worker can import it either."
    if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
        mend = "Run this where 'import' finds it, or name its file."
    return Finding(name, "wrong", text, mend, place)


def _calls_at_import(module: ModuleType, calls: int) -> Finding:
    several = f"{calls} parallel calls" if calls > 1 else "a parallel call"
    return Finding(
        "work at import time",
        "warning",
        f"{module.__name__} makes {several} while it is imported.",
        "Every worker that imports it comes by there, too. Put it below "
        "'if __name__ == \"__main__\":', or into a function.",
        _short(getattr(module, "__file__", "") or ""),
    )


# -- the functions ---------------------------------------------------------------------------------


def _decorated(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """What Procession decorates, or what hides such a thing, under its name in the module."""
    for name, value in list(vars(module).items()):
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for own, each in list(vars(value).items()):
                if _hidden(each) is not None:
                    yield f"{name}.{own}", each
        elif _hidden(value) is not None and _home(value) == module.__name__:
            yield name, value


def _home(value: Any) -> Any:
    return getattr(_hidden(value), "__module__", None)


def _hidden(value: Any) -> Any:
    """The decorated object that a value is, or that other decorators stand above; or `None`."""
    from procession.pickling.references import is_decorated

    inner: Any = value
    for _ in range(20):
        if inner is None or is_decorated(inner):
            return inner
        inner = _below(inner)
    return None


def _below(value: Any) -> Any:
    """What a wrapper of the standard library, or of `functools.wraps`, stands above; or `None`."""
    if type(value) in (classmethod, staticmethod):
        return value.__func__
    if type(value) is functools.partial:
        return value.func
    held: dict[str, Any] = getattr(value, "__dict__", {})
    return held.get("__wrapped__")


def _about(name: str, value: Any) -> Iterator[Finding]:
    from procession.errors import NotPicklable, OptionError
    from procession.functions.packed_function import dump_function
    from procession.pitfalls.code_checks import pitfalls

    decorated = _hidden(value)
    raw = inspect.unwrap(decorated)
    place = _place(raw)
    if value is not decorated:
        yield _order(name, value, decorated, place)
    try:
        options = decorated.options
        payload = dump_function(decorated.__wrapped__, decorated, options.pickling)
    except OptionError as error:
        yield Finding("options", "wrong", str(error), place=place)
        return
    except NotPicklable as error:
        yield Finding("cannot be sent to a worker", "wrong", str(error), place=place)
        return
    yield _arrives(payload, place)
    for text in pitfalls(decorated.__wrapped__, by_value=options.pickling == "by-value"):
        yield Finding("pitfall", "warning", text, place=place)
    if options.context == "fork":
        yield Finding(
            "start method",
            "note",
            "context='fork' copies this process with what its threads hold at that moment.",
            "Leave context= out unless the workers must inherit something.",
            place,
        )


def _order(name: str, value: Any, decorated: Any, place: str) -> Finding:
    above = type(value).__name__ if not inspect.isfunction(value) else "another decorator"
    return Finding(
        "order of decorators",
        "wrong",
        f"{above} stands above @{decorated._self_style} on {name}: callers meet that one, and it "
        "has no map() or submit().",
        f"Write @{decorated._self_style} first, above the others.",
        place,
    )


def _arrives(payload: bytes, place: str) -> Finding:
    """Whether a process that has imported nothing yet finds the function."""
    from procession import isolated, parallel
    from procession.system.posix import OWN_WORKERS

    try:
        if OWN_WORKERS:
            kind = isolated(timeout=_PATIENCE, context="spawn")(_found)(payload)
        else:
            kind = parallel(workers=1)(_found).submit(payload).result(_PATIENCE)
    except BaseException as error:
        if strikes(error):
            raise
        text = f"a new process does not find it: {type(error).__name__}: {text_of(error)}"
        return Finding("arrives", "wrong", text, "Each worker imports its module anew.", place)
    return Finding("arrives", "ok", f"a new process has it, {kind}", place=place)


def _found(payload: bytes) -> str:
    from procession.functions.loading import load_function

    function = load_function(payload)
    module = getattr(function, "__module__", "")
    return "by its name" if module in sys.modules and module != "__main__" else "by value"


def _place(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return f"{_short(code.co_filename)}:{code.co_firstlineno}" if code is not None else ""


def _short(path: str) -> str:
    """A path as it is seen from here."""
    relative = os.path.relpath(path) if path else path
    return path if relative.startswith("..") else relative
