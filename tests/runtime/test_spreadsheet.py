"""No cell runs in a spreadsheet, numbers stay numbers, and all is read back unchanged."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seglab.run.history import History
from seglab.runtime.csv_cells import FORMULA
from seglab.runtime.spreadsheet import read_table, write_table
from seglab.sweep.board import Outcome, write_csv
from seglab.sweep.jobs import Job

BAD = [
    "=1+2",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    " =1",
    "\x1b[2J",
    "\uff1d1",
    "-",
]


def written(path: Path, texts: list[object]) -> list[str]:
    """Write a row under made-up heads and return its cells as a spreadsheet finds them."""
    write_table(path, [[f"c{k}" for k in range(len(texts))], texts])
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1]


@pytest.mark.parametrize("text", BAD)
def test_what_would_run_is_marked_as_text(tmp_path: Path, text: str) -> None:
    assert written(tmp_path / "x.csv", [text]) == [f"'{text}"]
    assert read_table(tmp_path / "x.csv") == [{"c0": text}]
    write_table(tmp_path / "x.csv", [[text], ["value"]])
    assert read_table(tmp_path / "x.csv") == [{text: "value"}], "a head is a cell too"


@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r"])
@pytest.mark.parametrize("before", ["", "leaf", 'le"af', "'"])
@pytest.mark.parametrize(
    "formula", ["=1+2", " =1+2", '"=1+2', '""=1+2', "@SUM(1)", "-2+3", "\x1b="]
)
def test_no_part_of_a_cell_runs_where_a_spreadsheet_splits_elsewhere(
    tmp_path: Path, separator: str, before: str, formula: str
) -> None:
    text = f"{before}{separator}{formula}"
    write_table(tmp_path / "x.csv", [["a", text, text], [text, "b", 0.5]])
    assert read_table(tmp_path / "x.csv") == [{"a": text, text: "0.5"}]
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        lines = file.read().splitlines()
    for delimiter in {";", "\t", separator} - {"\n", "\r"}:
        for row in csv.reader(lines, delimiter=delimiter):
            for cell in row:
                assert not cell.lstrip(' "\x1b').startswith(FORMULA), cell


def test_the_history_of_a_run_has_no_formula(tmp_path: Path) -> None:
    names = ["val/IoU/leaf;=1+2", "val/IoU/leaf\t'", "=1", "val/IoU/cat"]
    history = History(tmp_path / "metrics.csv")
    history.log(0, dict.fromkeys(names[:2], 0.5))
    history.flush()
    again = History(tmp_path / "metrics.csv")
    again.log(1, dict.fromkeys(names, -0.25))
    assert again.last("=1") == again.last("val/IoU/leaf;=1+2") == -0.25
    assert [*again.rows()[0]] == ["step", *names]
    head = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert head == "step,val/IoU/leaf;'=1+2,val/IoU/leaf\t'','=1,val/IoU/cat"


def test_numbers_and_plain_names_stay_as_they_are(tmp_path: Path) -> None:
    values = [
        -0.5,
        "-0.5",
        "1e-3",
        "-1E+05",
        "+3",
        ".5",
        7,
        "",
        "cat",
        "it's",
        "a=b",
        "seed=-1",
        "leaf; stem",
        "a;",
    ]
    assert written(tmp_path / "x.csv", values) == list(map(str, values))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5))
def test_any_text_is_read_back_and_begins_no_formula(tmp_path: Path, texts: list[str]) -> None:
    cells = written(tmp_path / "x.csv", list(texts))
    assert list(read_table(tmp_path / "x.csv")[0].values()) == texts
    for cell in cells:
        try:
            float(cell)
        except ValueError:
            assert not cell or (cell[0].isprintable() and not cell.lstrip().startswith(FORMULA))


def test_the_table_of_a_sweep_has_no_formula(tmp_path: Path) -> None:
    job = Job(1, (), ("+data.root==1+1",), tmp_path / "job")
    write_csv([Outcome(job, "failed", {}, 3.5, "@error\x1b[2J")], tmp_path / "sweep.csv")
    with (tmp_path / "sweep.csv").open(newline="", encoding="utf-8") as file:
        row = list(csv.reader(file))[1]
    assert row[1] == "'+data.root==1+1"
    assert row[4:] == ["3.5", str(tmp_path / "job"), "'@error\x1b[2J"]
    (record,) = read_table(tmp_path / "sweep.csv")
    assert (record["overrides"], record["error"]) == ("+data.root==1+1", "@error\x1b[2J")
