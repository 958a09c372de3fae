"""The page of errors has what can be raised, word for word, and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import procession
import procession.errors
from tests.support.pages import DOCS

PACKAGE = Path(procession.__file__).parent
PAGE = (DOCS / "reference" / "errors.md").read_text()
KEYS = [each.strip("` ") for each in re.findall(r"^`(.+)`\n: ", PAGE, flags=re.M)]
"""The texts that the page explains, with `…` for what differs."""

SAYERS = {
    *vars(procession.errors)["__all__"],
    *("warn_user", "Refused", "refuse_type", "Conflict"),
}
"""What is called with a message: errors, warnings, and what becomes an `OptionError`."""

MADE_OF_OTHERS = {
    "It is the environment variable",  # after the message of an option
    ", and this is ",  # the same
    "Leave context out, or write backend='process'.",  # after the reason of `SUPPORTED`
}


Names = dict[str, str]


def _text(node: ast.expr, names: Names) -> str:
    """A text as it stands in the sources, with `…` for what is put in, if that is not known."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(each, names) for each in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, names) + _text(right, names)
        case ast.IfExp(body=body, orelse=other):
            return f"{_text(body, names)}…{_text(other, names)}"
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name):
            return names.get(name, "…")
    return "…"


def _named(tree: ast.AST) -> Names:
    """The texts that names of a module stand for; where there are several, all of them."""
    found: Names = {}
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                if (text := _text(value, {})).strip("…"):
                    found[name] = f"{found.get(name, '')}…{text}"
    return found


def _pieces(text: str) -> list[str]:
    return [piece.strip() for piece in text.split("…") if len(piece) > 8]


def _said() -> Iterator[tuple[str, str]]:
    """Where each message is made, and its text."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = _named(tree)
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args):
                    if name in SAYERS:
                        text = "…".join(_text(each, names) for each in args)
                        yield f"{path.relative_to(PACKAGE)}:{node.lineno}", text


def _every_text() -> str:
    trees = (ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr))
    return "\n".join(text for node in nodes if (text := _text(node, {})).strip("…"))


def test_errors_stand_by_their_literal_text() -> None:
    """Each message on the page is one that the sources have, word for word."""
    texts = _every_text()
    assert len(KEYS) > 150
    assert not [key for key in KEYS if not all(each in texts for each in _pieces(key))]


def test_every_message_is_on_the_page() -> None:
    """Each text with which the sources call an error or a warning is one that the page explains."""
    keys = [pieces for key in KEYS if (pieces := _pieces(key))]
    missing = [
        (where, text)
        for where, text in _said()
        if _pieces(text)
        and not any(all(each in text for each in pieces) for pieces in keys)
        and not any(each in text for each in MADE_OF_OTHERS)
    ]
    assert not missing
