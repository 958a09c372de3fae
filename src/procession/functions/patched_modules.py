"""Whether a loaded module is what its file says now, although it was not imported anew.

Some tools read a file that was edited and patch what is loaded (IPython's autoreload does, where it
can): functions get other code, and constants other values.
"""

from __future__ import annotations

import ast
from types import CodeType, FunctionType, MappingProxyType
from typing import Any

from procession.pickling.digests import digest

__all__ = ["agrees"]

_NOTHING = object()


def agrees(module: Any, source: bytes) -> bool:
    """Whether a module's functions, classes and constants are those of a source text."""
    try:
        tree = ast.parse(source)
        code = compile(source, str(module.__file__), "exec", dont_inherit=True)
        return _agree(tree.body, code, vars(module))
    except (SyntaxError, ValueError, RecursionError):
        return False


def _agree(body: list[ast.stmt], code: CodeType, space: Any) -> bool:
    inner = {each.co_name: each for each in code.co_consts if isinstance(each, CodeType)}
    for node in body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            if not _constants_agree(node, space):
                return False
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if not _function_agrees(node, inner[node.name], space.get(node.name)):
                return False
        elif isinstance(node, ast.ClassDef):
            held = getattr(space.get(node.name), "__dict__", None)
            if not isinstance(held, MappingProxyType):
                return False
            if not _agree(node.body, inner[node.name], held):
                return False
    return True


def _constants_agree(node: ast.Assign | ast.AnnAssign, space: Any) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    value = _literal(node.value)
    if value is _NOTHING:
        return True  # it is worked out: nobody knows what it would be
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return all(_same(space.get(name), value) for name in names)


def _function_agrees(node: Any, code: CodeType, held: Any) -> bool:
    for _ in range(16):
        if type(held) is FunctionType and not hasattr(held, "__wrapped__"):
            break
        below = getattr(held, "__wrapped__", None) or getattr(held, "__func__", None)
        if below is None:
            return True  # made into something else by a decorator
        held = below
    if digest(held.__code__) != digest(code):
        return False
    given = [_literal(default) for default in node.args.defaults]
    defaults = held.__defaults__ or ()
    return len(given) == len(defaults) and all(
        value is _NOTHING or _same(default, value)
        for default, value in zip(defaults, given, strict=True)
    )


def _literal(node: ast.expr | None) -> Any:
    try:
        return _NOTHING if node is None else ast.literal_eval(node)
    except (ValueError, TypeError):
        return _NOTHING


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
