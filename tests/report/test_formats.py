"""Tables for papers and programs, and runs in Python."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.runs import make_run

import seglab
from seglab.errors import ConfigError


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    for number, (lr, seed, skill) in enumerate(
        [(0.1, 0, 0.5), (0.1, 1, 0.52), (0.01, 0, 0.7), (0.01, 1, 0.72)]
    ):
        make_run(
            folder / f"run{number}",
            skill=skill,
            seed=seed,
            settings={"optimizer": {"lr": lr}, "model": {"name": "a|b_%"}},
            overrides=[f"optimizer.lr={lr}", f"seed={seed}"],
        )
    make_run(folder / "bad", state="failed", error="out of luck")
    return folder


def printed(seglab_cli: Callable[..., Any], sweep: Path, name: str) -> str:
    answer = seglab_cli("compare", str(sweep), "--format", name)
    assert answer.code == 0, answer.err
    assert not list(Path.cwd().glob("compare.*")), "a table alone is printed"
    out: str = answer.out
    return out


def test_markdown_has_a_row_per_group_of_seeds(seglab_cli: Callable[..., Any], sweep: Path) -> None:
    *lines, empty, footnote = printed(seglab_cli, sweep, "markdown").splitlines()
    assert (empty, footnote[:25]) == ("", r"\* unreliable interval: f")
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert cells[0][0] == "run"
    assert "seed" not in cells[0]
    assert {*cells[1]} == {"---"}
    assert [row[0] for row in cells[2:]] == ["2 seeds", "2 seeds", "bad"]
    assert "0.01" in cells[2]
    assert " ± " in cells[2][-2]
    assert "failed" in cells[-1]
    assert len({len(row) for row in cells}) == 1


def test_latex_escapes_what_it_must(seglab_cli: Callable[..., Any], sweep: Path) -> None:
    text = printed(seglab_cli, sweep, "latex")
    assert text.startswith(r"\begin{tabular}{l")
    assert r"$\pm$" in text
    assert text.count(r"\\") == 4
    body = text.partition(r"\midrule")[2]
    assert "%" not in body.replace(r"\%", "")
    assert "_" not in body.replace(r"\_", "")


def test_csv_and_json_are_read_back(seglab_cli: Callable[..., Any], sweep: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(seglab_cli, sweep, "csv"))))
    assert len(rows) == 3
    runs = json.loads(printed(seglab_cli, sweep, "json"))
    assert len(runs) == 5
    best = max(runs, key=lambda run: run["metrics"].get("val/mIoU") or 0)
    assert best["settings"]["optimizer.lr"] == 0.01
    assert best["interval"][0] <= best["metrics"]["val/mIoU"] <= best["interval"][1]
    assert [run["error"] for run in runs if run["status"] == "failed"] == ["out of luck"]


def test_csv_runs_no_name_as_a_formula(seglab_cli: Callable[..., Any], tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "=1+1")
    make_run(tmp_path / "runs" / "other", skill=0.5)
    names = [row["run"] for row in csv.DictReader(
        io.StringIO(printed(seglab_cli, tmp_path / "runs", "csv")))]  # fmt: skip
    assert sorted(names) == ["'=1+1", "other"]


def test_runs_that_find_objects_have_their_mask_ap(
    seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    for seed, value in enumerate((0.5, 0.7)):
        run = make_run(tmp_path / "runs" / f"run{seed}", seed=seed, skill=0.5 + seed / 10)
        path = run / "metrics.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "val/mask_AP50": value}))
    make_run(tmp_path / "runs" / "semantic", settings={"optimizer": {"lr": 7}})
    lines = printed(seglab_cli, tmp_path / "runs", "markdown").splitlines()
    assert " | val/mask_AP50 | val/mIoU | 95 % interval |" in lines[0]
    assert any("| 0.6000 ± 0.1414 | " in line for line in lines)
    assert any("| semantic | " in line and "| - | " in line for line in lines)
    answer = seglab_cli("compare", str(tmp_path / "runs"))
    assert "val/mask_AP50" in answer.out
    assert "0.7000" in answer.out


def test_runs_in_python_are_the_records(sweep: Path) -> None:
    runs = seglab.runs(str(sweep))
    assert [run.state for run in runs].count("finished") == 4
    assert (
        max(runs, key=lambda run: run.metrics.get("val/mIoU", 0)).settings["optimizer.lr"] == 0.01
    )
    assert len(seglab.runs(sweep / "run0", sweep / "run1")) == 2
    with pytest.raises(ConfigError, match="no such folder"):
        seglab.runs(sweep / "none")


def test_the_example_of_the_docs_runs(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs/comparing.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    (sweep.parent / "sweeps").mkdir()
    sweep.rename(sweep.parent / "sweeps/lr")
    monkeypatch.chdir(sweep.parent)
    exec(example, {})
    name, lr, miou = capsys.readouterr().out.split()
    assert name.startswith("run")
    assert lr == "0.01"
    assert 0 < float(miou) < 1


def test_without_pandas_it_says_so(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"to_pandas\(\) needs pandas: pip install pandas"):
        seglab.runs(sweep).to_pandas()


def test_runs_become_a_table_where_pandas_is_there(sweep: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = seglab.runs(sweep).to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert table.groupby("optimizer.lr")["val/mIoU"].mean().idxmax() == 0.01
