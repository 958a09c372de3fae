"""Whether code is the same: told by what it does, not by where it stands.

Also whether a loaded module is what its file says now, although it was not imported anew. Some
tools read a file that was edited and patch what is loaded (IPython's autoreload does, where it
can): functions get other code, and constants other values.
"""

from __future__ import annotations

from binascii import crc32
from types import CodeType, FunctionType, MappingProxyType

from procession.hints import Any
from procession.pickling.objects import is_a

_NOTHING = object()


def code_digest(code: CodeType) -> tuple[int, int]:
    """A digest of what code does, with the code nested in it; not of its place in a file."""
    told = repr(_told(code)).encode("utf-8", "surrogatepass")
    return len(told), crc32(told)  # no secret: hashlib takes 20 ms to load


def _told(code: CodeType) -> tuple[Any, ...]:
    return (
        code.co_name,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        code.co_code,
        getattr(code, "co_exceptiontable", b""),
        [_constant(value) for value in code.co_consts],
    )


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _told(value)
    if is_a(value, frozenset):
        return sorted(map(repr, value))  # in the order of this process
    if is_a(value, tuple):
        return [_constant(part) for part in value]
    return type(value).__name__, repr(value)


def agrees(module: Any, source: bytes) -> bool:
    """Whether a module's functions, classes and constants are those of a source text."""
    import ast  # some milliseconds

    try:
        tree = ast.parse(source)
        code = compile(source, str(module.__file__), "exec", dont_inherit=True)
        return _agree(tree.body, code, vars(module))
    except (SyntaxError, ValueError, RecursionError):
        return False


def _agree(body: list[Any], code: CodeType, space: Any) -> bool:
    inner = {each.co_name: each for each in code.co_consts if isinstance(each, CodeType)}
    for node in body:
        kind = type(node).__name__
        if kind in ("Assign", "AnnAssign"):
            if not _constants_agree(node, space):
                return False
        elif kind in ("FunctionDef", "AsyncFunctionDef"):
            if not _function_agrees(node, inner[node.name], space.get(node.name)):
                return False
        elif kind == "ClassDef":
            held = getattr(space.get(node.name), "__dict__", None)
            if not isinstance(held, MappingProxyType):
                return False
            if not _agree(node.body, inner[node.name], held):
                return False
    return True


def _constants_agree(node: Any, space: Any) -> bool:
    targets = getattr(node, "targets", None) or [node.target]
    value = _literal(node.value)
    if value is _NOTHING:
        return True  # it is worked out, so what it would be is not known
    names = [target.id for target in targets if type(target).__name__ == "Name"]
    return all(_same(space.get(name), value) for name in names)


def _function_agrees(node: Any, code: CodeType, held: Any) -> bool:
    for _ in range(16):
        if type(held) is FunctionType and not hasattr(held, "__wrapped__"):
            break
        below = getattr(held, "__wrapped__", None) or getattr(held, "__func__", None)
        if below is None:
            return True  # made into something else by a decorator
        held = below
    if code_digest(held.__code__) != code_digest(code):
        return False
    given = [_literal(default) for default in node.args.defaults]
    defaults = held.__defaults__ or ()
    return len(given) == len(defaults) and all(
        value is _NOTHING or _same(default, value)
        for default, value in zip(defaults, given, strict=True)
    )


def _literal(node: Any) -> Any:
    from ast import literal_eval

    try:
        return _NOTHING if node is None else literal_eval(node)
    except (ValueError, TypeError):
        return _NOTHING


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
