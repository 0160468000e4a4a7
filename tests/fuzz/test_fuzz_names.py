"""Class names and table cells as strangers write them: shown as text, run by nothing, read back."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from pathlib import Path

from helpers.fuzzing import fuzzed, trying
from helpers.runs import make_run
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from seglab.commands.compare import show
from seglab.commands.tables import show_metrics
from seglab.report import build
from seglab.runtime.csv_cells import FORMULA
from seglab.runtime.spreadsheet import read_table, write_table

PIECES = [
    *("cat", " ", "[/cross]", "[bold]", "[link=file:///etc/passwd]", "\\[", ":car:", "\x1b[2J"),
    *("\x1b]0;x\x07", "\x1b]8;;http://x\x1b\\", "\x9b31m", "\r", "\n", "\t", "\x00", "\x7f"),
    *("\u202e", "\u2066", "\u200b", "\u2028", "\x85", "\ufeff", "Ä", "日本", "👨‍👩‍👧"),
    *("=", "+", "-", "@", "'", '"', ",", ";", "=cmd|' /C calc'!A0", "-1", "1e5", "\uff1d"),
    *("</script>", "<img src=x onerror=alert(1)>", "<!--", "&amp;", "${oc.env:HOME}", "/", "."),
]
NAMES = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), min_size=1, max_size=4).map(
    lambda parts: "".join(parts).encode("utf-8", "replace").decode().rstrip("\0") or "x"
)


@fuzzed(15)
@given(names=st.lists(NAMES, min_size=2, max_size=4, unique=True), error=NAMES)
def test_names(tmp_path: Path, names: list[str], error: str) -> None:
    with trying("names") as came_to, tempfile.TemporaryDirectory(dir=tmp_path) as name:
        folder = Path(name)
        overrides = [f"optimizer.{names[0]}={names[1]}"]
        settings = {"optimizer": {names[0]: names[1], "lr": 0.5}}
        make_run(
            folder / "runs/a", classes=names, images=5, steps=2, settings=settings,
            overrides=overrides,
        )  # fmt: skip
        make_run(folder / "runs/b", images=5, steps=2, state="failed", error=error)
        comparison = build([folder / "runs"], folder)
        output = io.StringIO()
        console = Console(file=output, force_terminal=True, color_system=None, width=2000)
        show(comparison, console)
        (run,) = (run for run in comparison.runs if run.name == "a")
        show_metrics(run.metrics, console, unreliable=True)
        assert_text(output.getvalue())
        assert "[/cross]" in output.getvalue() or not any("[/cross]" in name for name in names)
        row = next(row for row in read_table(folder / "compare.csv") if row["run"] == "a")
        for label, value in run.metrics.items():
            assert row[label] == ("" if value != value else repr(value))
        assert_no_formula(folder / "compare.csv")
        page = (folder / "compare.html").read_text(encoding="utf-8")
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
        assert found is not None
        assert json.loads(found[1])["runs"][0]["classes"] == names
        came_to("accepted")


@fuzzed(100)
@given(rows=st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(NAMES, min_size=n, max_size=n, unique=True), min_size=1, max_size=4)))  # fmt: skip  # noqa: E501
def test_cells(tmp_path: Path, rows: list[list[str]]) -> None:
    with trying("cells") as came_to:
        write_table(tmp_path / "x.csv", rows)
        head, *others = rows
        found = read_table(tmp_path / "x.csv")
        assert found == [dict(zip(head, row, strict=True)) for row in others]
        assert_no_formula(tmp_path / "x.csv")
        came_to("accepted")


def assert_text(text: str) -> None:
    """Assert that a terminal obeys nothing in it, and that nothing is reordered."""
    lines = text.split("\n")
    joiners = {"\u200c", "\u200d"}
    assert all(c.isprintable() or c in joiners for line in lines for c in line), text


def assert_no_formula(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            for cell in row:
                number = re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", cell, re.IGNORECASE)
                assert number or not cell.lstrip().startswith(FORMULA), cell
