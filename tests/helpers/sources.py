"""The source of seglab as syntax trees, for tests of what it may not contain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import seglab

ROOT = Path(seglab.__file__).parent
TREES = {
    path.relative_to(ROOT.parent).as_posix(): ast.parse(path.read_text())
    for path in sorted(ROOT.rglob("*.py"))
    if "starter" not in path.parts  # what seglab init copies is the user's
}


def nodes(kind: type | tuple[type, ...]) -> Iterator[tuple[str, ast.AST]]:
    return (
        (path, n) for path, tree in TREES.items() for n in ast.walk(tree) if isinstance(n, kind)
    )


def last_name(node: ast.AST) -> str:
    """Return ``c`` of ``a.b.c``, ``c`` and ``c[T]``."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def is_own(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")
