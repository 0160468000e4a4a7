"""report.html in every run folder however the run ends, and seglab compare as a user calls it."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def page_of(folder: Path, name: str = "report.html") -> dict[str, Any]:
    text = (folder / name).read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_pages_of_runs_evaluations_and_scores_and_their_comparison(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    for seed in (0, 1):
        arguments = [*tiny, f"seed={seed}", f"hydra.run.dir=runs/{seed}"]
        assert seglab_cli("train", *arguments).code == 0
    metrics = json.loads((tmp_path / "runs/0/metrics.json").read_text())
    (run,) = page_of(tmp_path / "runs/0")["runs"]
    assert (run["state"], run["kind"]) == ("finished", "train")
    assert run["metrics"].pop("speed/images_per_second") > 0
    assert run["metrics"] == metrics
    assert run["low"] < run["high"]
    assert run["images"] == 5
    assert len(run["curves"]["train/loss"]["values"]) == 4
    shown = {sample["id"] for sample in run["fixed"]}
    assert shown == {path.stem for path in (tmp_path / "runs/0/predictions").glob("*.png")}
    assert len(run["worst"]) == 5, "all of them, where there are so few"

    checkpoint = "checkpoint=runs/0/checkpoints/last.ckpt"
    answer = seglab_cli("evaluate", checkpoint, "trainer.accelerator=cpu", "hydra.run.dir=again")
    assert answer.code == 0, answer.err
    (evaluated,) = page_of(tmp_path / "again")["runs"]
    assert evaluated["kind"] == "evaluate"
    assert evaluated["confusion"] == run["confusion"]
    measured = json.loads((tmp_path / "again/metrics.json").read_text())
    assert (run["low"], run["high"]) == (measured["val/mIoU_low"], measured["val/mIoU_high"])

    answer = seglab_cli("compare", "runs", "again", "--output", "out")
    assert answer.code == 0, answer.err
    data = page_of(tmp_path / "out", "compare.html")
    assert len(data["runs"]) == 3
    assert len(data["groups"]) == 1
    mean = data["groups"][0]["mean"]
    assert f"\n  {mean:.4f} ± " in answer.out
    assert answer.out.count("* unreliable interval: fewer than 100 images") == 1
    assert data["footnote"].startswith("* unreliable interval")
    assert f"{metrics['val/mIoU']:.4f}" in answer.out
    assert "seed=1" in answer.out
    assert "out/compare.html" in answer.out
    with (tmp_path / "out/compare.csv").open(newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert rows["runs/0"]["val/mIoU"] == repr(metrics["val/mIoU"])

    answer = seglab_cli("compare", "runs")
    assert answer.code == 0
    assert (tmp_path / "compare.html").is_file(), "here, where no folder is given"
    assert "paired over 5 images" in answer.out


def test_runs_of_other_data_or_another_checkpoint_are_not_averaged(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    """The settings are equal but for the seed; the images and masks are not."""
    tiny = [override for override in tiny if not override.startswith("data.synth")]
    for seed in (0, 1):
        synth = ["data.synth.train=4", "data.synth.val=3", f"data.synth.seed={seed}"]
        assert seglab_cli("data", "synth", *synth, f"data.root=data{seed}").code == 0
        data = ["data=voc2007", f"data.root=data{seed}", "trainer.max_epochs=1"]
        run = [f"seed={seed}", f"hydra.run.dir=runs/{seed}"]
        assert seglab_cli("train", *tiny, *data, *run).code == 0
    answer = seglab_cli("compare", "runs")
    assert answer.code == 0, answer.err
    assert "mean of" not in answer.out
    assert "data" in answer.out, "what differs is shown"
    for number, name in enumerate(("best", "last")):
        checkpoint = f"checkpoint=runs/{number}/checkpoints/{name}.ckpt"
        arguments = ["data.root=data0", f"hydra.run.dir=evaluations/{name}"]
        assert seglab_cli("evaluate", checkpoint, *arguments).code == 0
    answer = seglab_cli("compare", "evaluations")
    assert "mean of" not in answer.out
    assert "checkpoint=best.ckpt" in answer.out


def test_a_score_has_a_page_and_compares_with_the_run(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    from seglab.data.masks import read_mask
    from seglab.data.synthetic import SyntheticSpec, write_tree
    from seglab.drawing.pictures import save_class_map

    write_tree(tmp_path / "kit", SyntheticSpec(train=8, val=5, width=64, height=48))
    data = ["data=voc2007", "data.root=kit"]
    masks = tmp_path / "kit/VOC2007/SegmentationClass"
    (tmp_path / "maps").mkdir()
    for path in masks.glob("*.png"):
        mask = read_mask(path)
        mask[mask == 255] = 0
        save_class_map(mask, tmp_path / "maps" / path.name)
    assert seglab_cli("score", "predictions=maps", *data, "hydra.run.dir=score").code == 0
    (run,) = page_of(tmp_path / "score")["runs"]
    assert (run["kind"], run["metrics"]["val/mIoU"]) == ("score", 1.0)
    assert len(run["fixed"]) == 5


def test_a_run_that_is_stopped_or_fails_leaves_its_page(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    interrupt: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt(1)
    assert seglab_cli("train", *tiny, "hydra.run.dir=runs/cut").code == 130
    (run,) = page_of(tmp_path / "runs/cut")["runs"]
    assert run["state"] == "interrupted"
    assert len(run["curves"]["train/loss"]["values"]) == 2
    assert run["confusion"], "of the last validation"
    assert run["fixed"]

    interrupt(-1)
    from seglab.tasks.semantic import SemanticSegmentation

    def broken(*arguments: Any) -> None:
        raise RuntimeError("out of <luck>")

    monkeypatch.setattr(SemanticSegmentation, "training_step", broken)
    assert seglab_cli("train", *tiny, "hydra.run.dir=runs/broken").code == 1
    (run,) = page_of(tmp_path / "runs/broken")["runs"]
    assert (run["state"], run["reason"]) == ("failed", "out of <luck>")

    answer = seglab_cli("compare", "runs")
    assert answer.code == 0, "runs that did not end well can be compared"
    assert "failed: broken: out of <luck>" in answer.out
    assert "interrupted: cut" in answer.out


def test_a_page_that_cannot_be_written_changes_nothing_of_the_run(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import seglab.report

    def broken(*arguments: Any) -> None:
        raise OSError("no\nroom")

    monkeypatch.setattr(seglab.report, "render", broken)
    answer = seglab_cli("train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert answer.code == 0
    assert "report.html: not written: no room" in answer.out
    assert json.loads((tmp_path / "run/status.json").read_text())["status"] == "finished"
    assert not (tmp_path / "run/report.html").exists()


def test_wrong_folders_are_named(seglab_cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, said in (
        ([], "DIR"),
        (["empty"], "empty: no run in it"),
        (["gone"], "gone: no such folder"),
        (["empty", "--out-put", "x"], "--out-put"),
    ):
        answer = seglab_cli("compare", *arguments)
        assert answer.code == 2, answer
        assert said in answer.last_line
        assert not (tmp_path / "compare.html").exists()


def test_an_output_that_is_a_file_is_named(
    seglab_cli: Callable[..., Any], made_run: Callable[..., Path], tmp_path: Path
) -> None:
    made_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    answer = seglab_cli("compare", "run", "--output", "file")
    assert answer.code == 1
    assert "--output file: not writable" in answer.last_line


def test_a_terminal_table_takes_names_as_they_are(
    made_run: Callable[..., Path], tmp_path: Path
) -> None:
    made_run(tmp_path / "[bold]run")
    made_run(tmp_path / "odd \udcff \x1b[2J", state="failed", error="\x1b[2J")
    command = [sys.executable, "-m", "seglab.cli", "compare", str(tmp_path), "--output", "."]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"}
    )
    assert done.returncode == 0, done.stderr
    assert "[bold]run" in done.stdout
    assert "failed: odd ? ?[2J: ?[2J" in done.stdout
    assert "\x1b" not in done.stdout
