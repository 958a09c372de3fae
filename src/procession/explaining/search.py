"""Finds what stops a value from being pickled: the search behind `procession.explaining.explain`.

Breadth first, so that the path found is a shortest one, and without recursion, so that depth does
not matter. It asks each object what the picklers would ask it, and runs only after they failed.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from pickle import PickleBuffer

from procession.explaining import parts
from procession.hints import Any
from procession.pickling.by_value import VALUE
from procession.pickling.code_rules import Code
from procession.pickling.importable import find, importable
from procession.pickling.objects import (
    ATOMS,
    a_type,
    attribute_of,
    bases_of,
    class_of,
    is_a,
    is_one_of,
    text_of,
)
from procession.pickling.reducers import loaded_modules, registered
from procession.pickling.references import Named
from procession.pickling.refusals import Refusal, Refused
from procession.pickling.refused_types import is_handle, refusal_of
from procession.system.interrupts import strikes

_MOST = 1_000_000
"""Objects looked at before the search gives up and counts no further. About a gigabyte of notes
and some seconds; a guess, not measured."""

_DEEPEST = 20_000
"""Levels looked at. The C pickler stops before (lists: 498 on 3.11, 748 on 3.12, 4,999 on 3.13)."""


_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
_REMAKE = "Create it inside the function{or_leave_out}."


class Node:
    """An object that was reached, and from where."""

    __slots__ = ("depth", "key", "kind", "obj", "parent", "root")

    def __init__(self, obj: Any, parent: Node | None, kind: str, key: Any, root: str = "") -> None:
        self.obj = obj
        self.parent = parent
        self.kind = kind
        self.key = key
        self.root = root
        self.depth: int = 0 if parent is None else parent.depth + 1

    def trail(self) -> list[Node]:
        """The nodes from the root to this one."""
        nodes: list[Node] = [self]
        while nodes[-1].parent is not None:
            nodes.append(nodes[-1].parent)
        return nodes[::-1]


class Finding:
    """Something that cannot cross: where it is, and why."""

    __slots__ = ("error", "node", "refusal")

    def __init__(self, node: Node, refusal: Refusal, error: BaseException | None = None) -> None:
        self.node = node
        self.refusal = refusal
        self.error = error


class Search:
    """Looks through values for what cannot be pickled.

    Args:
        strict: Whether lambdas and what is defined inside functions are refused.
        code: Whether what is looked through is code, with what it uses.

    Attributes:
        findings: All that was found, nearest first.
        last: The node looked at last, which is one of the deepest.
        complete: Whether everything was looked at.
    """

    def __init__(self, strict: bool, *, code: bool = False) -> None:
        self.findings: list[Finding] = []
        self.last: Node | None = None
        self.complete = True
        self._strict, self._is_code = strict, code
        self._code = Code(strict)
        self.makers: dict[int, Any] = {}
        """What makes each object again that was reached, by the object's id."""
        self._seen: set[int] = set()
        self._kept: list[Any] = []
        self._refusals = _Verdicts(refusal_of)
        self._names = _Verdicts(self._nameless)

    def run(self, roots: Iterable[tuple[str, Any]]) -> None:
        """Search; `roots` are pairs of an expression and its value."""
        for node in self.reach(roots):
            self.last = node

    def reach(self, roots: Iterable[tuple[str, Any]]) -> Iterator[Node]:
        """The roots and all that they are pickled from, nearest first."""
        queue = [Node(obj, None, "root", None, root) for root, obj in roots]
        if self._is_code:
            self._code = Code(self._strict, [node.obj for node in queue])
        self._seen.update(id(node.obj) for node in queue)
        for node in queue:
            yield node
            for kind, key, part in self._parts(node):
                if id(part) not in self._seen and not is_one_of(class_of(part), ATOMS):
                    self._seen.add(id(part))
                    queue.append(Node(part, node, kind, key))
            if len(queue) > _MOST or node.depth > _DEEPEST:
                self.complete = False
                break

    def _parts(self, node: Node) -> Iterator[parts.Edge]:
        try:
            yield from self._pickled_from(node.obj)
        except Refused as error:
            self.findings.append(Finding(node, error.refusal))
        except parts.Malformed as error:
            self.findings.append(Finding(node, _malformed(node.obj, error)))
        except BaseException as error:
            if strikes(error):
                raise
            self.findings.append(Finding(node, _raised(node.obj, error), error))

    def _pickled_from(self, obj: Any) -> Iterable[parts.Edge]:
        cls = class_of(obj)
        if cls is types.FunctionType:
            return () if self._code.reference(obj) else parts.parts_of_function(obj)
        if issubclass(cls, type):
            return () if self._code.is_named(obj) else parts.parts_of_class(obj)
        if self._code.takes_stream(obj) or cls is PickleBuffer:
            return ()
        found = registered(cls)
        if found is None:
            self._refusals.check(cls)
            inside = parts.contents(obj)
            if inside is not None:
                self._names.check(cls)
                return inside
        reduced = (found or VALUE[cls])(obj)
        if found is None:  # after the reducer: types written in C often have no name either
            self._names.check(cls)
        self._kept.append(reduced)  # so that no id is given twice
        if isinstance(reduced, str):
            _check_name(obj, reduced)
            return ()
        if is_a(reduced, tuple) and reduced:
            self.makers[id(obj)] = reduced[0]
        return parts.parts(obj, reduced)

    def _nameless(self, cls: type) -> Refusal | None:
        """Blame the object, not its class, for a class that cannot be sent."""
        try:
            self._code.is_named(cls)
        except Refused as error:
            return error.refusal._replace(what=f"an object of {error.refusal.what}")
        return None


def named_instead(roots: list[tuple[str, Any]], strict: bool) -> Named:
    """What may go by name so that the rest of some code can be pickled.

    An object that a function uses, and that an importable module holds (``from library import
    client``), goes by value if it can: so it arrives with what the program has changed in it. If it
    cannot, it goes by the module's name for it, as the function would if it stood in a module. A
    bare lock, socket or file is refused all the same: code that uses one means the one.

    Args:
        roots: Pairs of an expression and its value, as for `Search.run`.
        strict: Whether they were pickled strictly.

    Returns:
        The objects; none if something else stops it as well.
    """
    search = Search(strict, code=True)
    search.run(roots)
    places = _places() if search.findings else {}
    named: Named = {}
    for finding in search.findings:
        for node in finding.node.trail()[1:]:
            place = places.get(id(node.obj))
            cls = class_of(node.obj)
            if place is not None and (refusal_of(cls) is None or is_handle(cls)):
                named[id(node.obj)] = place
                break
        else:
            return {}
    return named


def _places() -> Named:
    """Where importable modules hold objects that are no code, each in its own library if it can."""
    places: Named = {}
    best: Named = {}
    for name, module in loaded_modules():
        if not importable(name):
            continue
        for attribute, value in list(vars(module).items()):
            cls = class_of(value)
            if cls.__module__ == "builtins" or issubclass(cls, _CODE):
                continue
            own = cls.__module__.partition(".")[0] == name.partition(".")[0]
            (best if own else places).setdefault(id(value), (name, attribute))
    return places | best


class _Verdicts(dict[type, Refusal | None]):
    """What a judge says of types, asked once for each."""

    def __init__(self, judge: Callable[[type], Refusal | None]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, cls: type) -> Refusal | None:
        refusal = self[cls] = self._judge(cls)
        return refusal

    def check(self, cls: type) -> None:
        """Raise for objects of a type that is refused."""
        refusal = self[cls]
        if refusal is not None:
            raise Refused(refusal)


def _check_name(obj: Any, name: str) -> None:
    module = getattr(obj, "__module__", None)
    if isinstance(module, str) and importable(module) and find(module, name) is not obj:
        raise parts.Malformed(f"gives the name {name!r}, and {module}.{name} is not this object")


def _malformed(obj: Any, error: Exception) -> Refusal:
    owner, method = _reducer(class_of(obj))
    whose = attribute_of(owner, "__qualname__")
    if owner is object:
        name = attribute_of(class_of(obj), "__qualname__")
        return Refusal(a_type(class_of(obj)), f"{name}.{method} {error}.", _REMAKE)
    return Refusal(
        f"{a_type(owner)} whose {method} cannot be used",
        f"{whose}.{method} {error}.",
        f"Correct {whose}.{method}{{or_leave_out}}.",
    )


def _raised(obj: Any, error: BaseException) -> Refusal:
    owner, method = _reducer(class_of(obj))
    whose = attribute_of(owner, "__qualname__")
    if owner is object or error.__traceback__ is None:
        text = text_of(error) or type(error).__name__
        name = attribute_of(class_of(obj), "__qualname__")
        in_python = any("__dict__" in own for _, own in bases_of(class_of(obj)))
        return Refusal(
            a_type(class_of(obj)),
            f"{name} objects cannot be pickled: {text.rstrip('.')}.",
            _REMAKE + (f" Or give {name} a __reduce__." if in_python else ""),
        )
    why = f"raised {type(error).__name__}"
    return Refusal(
        f"{a_type(class_of(obj))} whose {method} {why}",
        f"{whose}.{method} {why}: {text_of(error)}.".replace("..", "."),
        f"Correct {whose}.{method}{{or_leave_out}}.",
    )


def _reducer(cls: type) -> tuple[type, str]:
    """Which class says how objects of `cls` are pickled, and in which method."""
    for base, own in bases_of(cls):
        for method in ("__reduce_ex__", "__reduce__", "__getstate__"):
            if method in own:
                return (base, method) if base is not object else (object, "__reduce_ex__")
    return object, "__reduce_ex__"
