"""Whatever comes from elsewhere is printed as text, by one helper that everything goes through."""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import seglab
from seglab.printing import plain, print_plain, printable, printable_lines

SOURCES = sorted(Path(seglab.__file__).parent.rglob("*.py"))
SAFE = {"plain", "styled", "printable", "printable_lines", "usage"}


def test_control_characters_and_overrides_are_question_marks() -> None:
    text = "a\x1b]0;x\x07b\x7f\x9b2Jc\u202edaeb\u2066\udcff"
    assert printable(text) == "a?]0;x?b??2Jc?daeb??"
    assert printable("one\r\ntwo\tthree\x85four\u2028five\xa0six") == "one  two three four five six"
    assert printable_lines("one\ntwo\r") == "one\ntwo "
    for word in ("[/cross]", "Käse", "車", "می‌خواهم", "👨‍👩‍👧"):
        assert printable(word) == word


@given(st.text(st.characters(codec=None)))
def test_nothing_printed_moves_the_cursor_or_ends_the_line(text: str) -> None:
    output = io.StringIO()
    print_plain(text, Console(file=output, force_terminal=True))
    shown = output.getvalue()
    assert shown.endswith("\n")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown[:-1])
    assert shown.count("\n") == 1


@pytest.mark.parametrize("text", ["[/cross]", "leaf [young]", "[link=file:///]x[/link]", ":car:"])
def test_brackets_and_colons_are_no_markup(text: str) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True)
    print_plain(text, console)
    console.print(plain(text))
    assert output.getvalue() == f"{text}\n{text}\n"


def _calls(path: Path) -> Iterator[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _name(node: ast.expr) -> str:
    """Return the last name of ``a.b.c``, of a call's function for a call."""
    if isinstance(node, ast.Call):
        return _name(node.func)
    return getattr(node, "attr", getattr(node, "id", ""))


def _is_safe(argument: ast.expr) -> bool:
    if isinstance(argument, ast.Starred):  # *map(plain, cells)
        call = argument.value
        return isinstance(call, ast.Call) and _name(call) == "map" and _name(call.args[0]) in SAFE
    if isinstance(argument, ast.Call):
        return _name(argument) in SAFE
    return isinstance(argument, ast.Constant) or _name(argument) == "table"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_everything_shown_goes_through_the_helper(path: Path) -> None:
    """console.print, print, tables and bars: a literal, or made by :mod:`seglab.printing`."""
    if path.name == "printing.py":
        return
    wrong = []
    for call in _calls(path):
        name = _name(call.func)
        receiver = _name(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        if (name == "print" and receiver in ("", "console")) or name == "add_row":
            wrong += [arg for arg in call.args if not _is_safe(arg)]
        elif name == "add_task":
            wrong += [arg for arg in call.args[:1] if not _is_safe(arg)]
        elif name == "TextColumn" and not isinstance(call.args[0], ast.Constant):
            wrong.append(call)
        elif name == "TextColumn" and "{" in str(ast.literal_eval(call.args[0])):
            markup = {key.arg: getattr(key.value, "value", None) for key in call.keywords}
            wrong += [] if markup.get("markup") is False else [call]
        elif name in ("Text", "assemble", "print_exc", "print_exception"):
            wrong.append(call)
    assert [f"{path.name}:{node.lineno}: {ast.unparse(node)}" for node in wrong] == []
