"""Rank, differing settings, seeds and pairs, from run folders made up for it."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from helpers.runs import make_run

from seglab.errors import ConfigError
from seglab.metrics.counts import jackknife_interval, paired_test
from seglab.metrics.statistics import holm, over_seeds_and_images
from seglab.report import build
from seglab.report.comparison import Interval, compare
from seglab.report.curves import read_curves, thin
from seglab.report.runs import find_runs, read_runs
from seglab.report.seeds import seed_groups
from seglab.report.settings import setting
from seglab.report.table import between, lines

Made = Callable[..., Path]


def test_a_run_that_many_settings_tell_from_others_is_called_by_its_name(tmp_path: Path) -> None:
    for count in (6, 7):
        both = []
        for number in range(2):
            settings = {f"s{place}": {"x": number} for place in range(count)}
            overrides = [f"{key}.x={number}" for key in settings]
            folder = tmp_path / f"{count}" / f"run{number}"
            both.append(make_run(folder, settings=settings, overrides=overrides))
        result = compare(read_runs([tmp_path / f"{count}"]))
        labels = {result.run_label(run) for run in result.runs}
        assert (labels == {"run0", "run1"}) == (count == 7), labels


def test_runs_are_ranked_and_those_without_a_result_come_last(
    made_run: Made, tmp_path: Path
) -> None:
    for name, skill in (("low", 0.2), ("high", 0.8), ("middle", 0.5)):
        made_run(tmp_path / name, skill=skill)
    made_run(tmp_path / "stopped", skill=0.9, state="interrupted")
    made_run(tmp_path / "broken", skill=0.9, state="failed", error="out of luck")
    result = compare(read_runs([tmp_path]))
    assert [run.name for run in result.runs][:3] == ["high", "middle", "low"]
    assert {run.name: run.state for run in result.runs[3:]} == {
        "stopped": "interrupted", "broken": "failed"
    }  # fmt: skip
    assert "failed: broken: out of luck" in list(lines(result))
    for run, interval in zip(result.runs, result.intervals, strict=True):
        if run.state == "finished":
            assert run.evaluation is not None
            assert (interval.low, interval.high) == jackknife_interval(run.evaluation.counts)
            assert interval.low < run.miou < interval.high
        else:
            assert math.isnan(interval.low)


def test_a_run_at_work_is_told_from_one_that_was_killed(made_run: Made, tmp_path: Path) -> None:
    for name in ("killed", "working"):
        made_run(tmp_path / name, state="started")
    with FileLock(tmp_path / "working" / ".lock"):
        states = {run.name: run.state for run in read_runs([tmp_path])}
    assert states == {"killed": "interrupted", "working": "started"}


def test_an_interval_is_taken_from_metrics_where_no_counts_were_kept(
    made_run: Made, tmp_path: Path
) -> None:
    run = made_run(tmp_path / "run")
    (run / "evaluation.npz").unlink()
    path = run / "metrics.json"
    path.write_text(json.dumps({"val/mIoU": 0.5, "val/mIoU_low": 0.4, "val/mIoU_high": 0.6}))
    assert compare(read_runs([run])).intervals == [Interval(0.4, 0.6)]


def test_what_differs_are_settings_not_paths(made_run: Made, tmp_path: Path) -> None:
    for number, rate in enumerate((0.1, 0.01)):
        made_run(
            tmp_path / f"run{number}",
            settings={
                "optimizer": {"lr": rate, "hidden": number},
            },
            overrides=[f"optimizer.lr={rate}", f"data.root=/some/{number}", "experiments=smoke"],
            root=f"/some/{number}",
        )  # fmt: skip
    result = compare(read_runs([tmp_path]))
    assert result.differing[: result.named] == ["optimizer.lr"]
    assert result.differing == ["optimizer.lr", "optimizer.hidden"]
    assert {setting(run, "optimizer.lr") for run in result.runs} == {"0.1", "0.01"}
    assert setting(result.runs[0], "experiments") == "smoke"


def test_weights_are_told_apart_by_content_or_by_as_much_of_their_path_as_it_takes(
    made_run: Made, tmp_path: Path
) -> None:
    def run(name: str, weights: str, content: str | None = None, seed: int = 0) -> None:
        data = {"train": A, "val": B} | ({"weights": content * 64} if content else {})
        settings = {"model": {"weights": weights}}
        made_run(tmp_path / name, data=data, settings=settings, seed=seed)

    run("a", "/x/a/checkpoints/best.ckpt")
    run("b", "/y/b/checkpoints/best.ckpt")
    result = compare(read_runs([tmp_path]))
    runs = {one.name: one for one in result.runs}
    assert "model.weights" in result.differing
    assert setting(runs["a"], "model.weights") == "a/checkpoints/best.ckpt"
    assert setting(runs["b"], "model.weights") == "b/checkpoints/best.ckpt"
    assert result.repeats == []

    run("here", "/x/w.pth", "c")
    run("moved", "/y/w.pth", "c", seed=1)
    run("replaced", "/x/w.pth", "d", seed=2)
    result = compare(read_runs([tmp_path / name for name in ("here", "moved", "replaced")]))
    runs = {one.name: one for one in result.runs}
    assert [{one.name for one in group.runs} for group in result.groups] == [{"here", "moved"}]
    assert setting(runs["here"], "model.weights") == setting(runs["moved"], "model.weights")
    assert setting(runs["replaced"], "model.weights").endswith("w.pth dddddddd…")


def test_evaluations_of_other_starting_weights_are_no_seeds(made_run: Made, tmp_path: Path) -> None:
    for seed, weights in enumerate("cdc"):
        trained_on = {"train": A, "val": B, "weights": weights * 64}
        checkpoint = {"name": "last.ckpt", "step": 12, "data": trained_on}
        made_run(tmp_path / f"run{seed}", data={"val": B}, checkpoint=checkpoint, seed=seed)
    (group,) = compare(read_runs([tmp_path])).groups
    assert {run.name for run in group.runs} == {"run0", "run2"}


def test_a_run_resumed_on_another_number_of_devices_is_no_seed_of_others(
    made_run: Made, tmp_path: Path
) -> None:
    for seed in range(3):
        made_run(tmp_path / f"run{seed}", data={"train": A, "val": B}, seed=seed)
    path = tmp_path / "run2" / "status.json"
    starts = [{"step": step, "trainer.devices": n} for step, n in ((0, 1), (62, 2))]
    path.write_text(json.dumps({**json.loads(path.read_text()), "history": starts}))
    (group,) = compare(read_runs([tmp_path])).groups
    assert {run.name for run in group.runs} == {"run0", "run1"}


def test_a_history_beyond_all_bounds_is_not_read(made_run: Made, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    os.truncate(run / "metrics.csv", 60 * 10**9)  # takes no space on the disk
    (record,) = compare(read_runs([run])).runs
    assert record.state == "unreadable"
    assert "metrics.csv: more than 268,435,456 bytes" in record.reason


def test_a_table_says_what_is_no_result_of_training(
    made_run: Made, tmp_path: Path, seglab_cli: Callable[..., Any]
) -> None:
    made_run(tmp_path / "runs/trained")
    checkpoint = {"name": "last.ckpt", "step": 12, "data": {"train": A, "val": B}}
    made_run(tmp_path / "runs/measured", data={"val": B}, checkpoint=checkpoint)
    answer = seglab_cli("compare", "runs")
    assert answer.code == 0, answer.err
    assert "measured (evaluate last.ckpt, step 12)" in answer.out
    assert "trained (" not in answer.out


def test_a_choice_of_a_group_differs_by_name(made_run: Made, tmp_path: Path) -> None:
    made_run(tmp_path / "a", settings={"model": {"name": "fcn8s"}}, overrides=["model=fcn8s"])
    made_run(tmp_path / "b", settings={"model": {"name": "fcn32s"}}, overrides=["model=fcn32s"])
    made_run(tmp_path / "c", settings={"model": {"name": "x"}}, overrides=["experiments=x"])
    result = compare(read_runs([tmp_path]))
    assert result.differing[: result.named] == ["model.name", "experiments"]


def test_a_group_that_was_given_and_is_the_default_does_not_differ(
    made_run: Made, tmp_path: Path
) -> None:
    made_run(tmp_path / "a", overrides=["optimizer=adamw"])
    made_run(tmp_path / "b")
    assert compare(read_runs([tmp_path])).differing == []


def test_seeds_are_averaged_where_nothing_else_differs(made_run: Made, tmp_path: Path) -> None:
    for rate in (0.1, 0.01):
        for seed in (0, 1, 2):
            made_run(
                tmp_path / f"{rate}" / f"{seed}",
                seed=seed,
                settings={"optimizer": {"lr": rate}},
                overrides=[f"optimizer.lr={rate}", f"seed={seed}"],
            )
    made_run(tmp_path / "alone", seed=0, settings={"optimizer": {"lr": 1.0}})
    made_run(tmp_path / "stopped", seed=7, settings={"optimizer": {"lr": 0.1}}, state="failed")
    result = compare(read_runs([tmp_path]))
    assert [len(group.runs) for group in result.groups] == [3, 3]
    for group in result.groups:
        mious = [run.metrics["val/mIoU"] for run in group.runs]
        assert group.mean == statistics.fmean(mious)
        assert group.deviation == statistics.stdev(mious)
        assert len({setting(run, "optimizer.lr") for run in group.runs}) == 1


A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_seeds_may_differ_in_threads_and_in_validations_that_nothing_watches(
    made_run: Made, tmp_path: Path
) -> None:
    ema = {"callbacks": {"ema": {"_target_": "seglab.callbacks.EMA"}}}
    stop = {"callbacks": {"stop": {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}}}
    for seed in (0, 1):
        trainer = {"threads": 1 + seed, "check_val_every_n_epoch": 5 - seed}
        for name, callbacks in (("ema", ema), ("stop", stop)):
            settings = {"trainer": trainer, **callbacks}
            made_run(
                tmp_path / name / str(seed), seed=seed, skill=0.5 + seed / 9, settings=settings
            )
    (group,) = seed_groups(read_runs([tmp_path]))[0]
    assert {run.folder.parent.name for run in group.runs} == {"ema"}


def test_runs_of_different_data_are_no_seeds_of_each_other(made_run: Made, tmp_path: Path) -> None:
    """Their settings are equal but for the seed; the masks are others."""
    for seed, data in enumerate(({"train": A, "val": A}, {"train": B, "val": A})):
        made_run(tmp_path / f"train{seed}", seed=seed, data=data, root=f"/{seed}")
    for seed, data in enumerate(({"train": C, "val": A}, {"train": C, "val": B})):
        made_run(tmp_path / f"val{seed}", seed=seed, data=data)
    result = compare(read_runs([tmp_path]))
    assert result.groups == []
    assert result.differing[:2] == ["train data", "val data"], "shown before all else"
    assert {setting(run, "train data") for run in result.runs} == {
        f"{one[:8]}…" for one in (A, B, C)
    }


def test_the_same_data_may_have_moved(made_run: Made, tmp_path: Path) -> None:
    for seed in (0, 1):
        made_run(tmp_path / f"{seed}", seed=seed, data={"train": A, "val": B}, root=f"/{seed}")
    result = compare(read_runs([tmp_path]))
    assert [group.seeds for group in result.groups] == [2]
    assert result.differing == ["seed"]


def test_where_no_identity_was_recorded_the_root_tells_data_apart(
    made_run: Made, tmp_path: Path
) -> None:
    for seed in (0, 1):
        made_run(tmp_path / f"same{seed}", seed=seed, data=None, root="/one")
        made_run(tmp_path / f"other{seed}", seed=seed, data=None, root=f"/{seed}")
    result = compare(read_runs([tmp_path]))
    assert [{run.name for run in group.runs} for group in result.groups] == [{"same0", "same1"}]
    assert result.differing[0] == "data.root"


def test_evaluations_of_seeds_are_averaged_only_for_like_checkpoints(
    made_run: Made, tmp_path: Path
) -> None:
    def evaluation(name: str, seed: int, file: str, trained_on: str | None, step: int = 80) -> None:
        checkpoint: dict[str, Any] = {"name": file, "step": step}
        if trained_on:
            checkpoint["data"] = {"train": trained_on, "val": B}
        made_run(tmp_path / name, seed=seed, data={"val": B}, checkpoint=checkpoint)

    for seed in (0, 1):
        evaluation(f"last{seed}", seed, "last.ckpt", A)
        evaluation(f"best{seed}", seed, "best.ckpt", A, step=10 * seed)
    evaluation("longer", 2, "last.ckpt", A, step=4000)
    evaluation("best", 2, "best.ckpt", A)
    evaluation("elsewhere", 3, "last.ckpt", C)
    for seed in (4, 5):
        evaluation(f"unknown{seed}", seed, "last.ckpt", None)
    made_run(tmp_path / "trained", seed=6, data={"train": A, "val": B})
    result = compare(read_runs([tmp_path]))
    groups = [{run.name for run in group.runs} for group in result.groups]
    assert sorted(map(sorted, groups)) == [["best", "best0", "best1"], ["last0", "last1"]]
    assert result.differing[:2] == ["train data", "checkpoint"]
    by_name = {run.name: run for run in result.runs}
    assert setting(by_name["best"], "checkpoint") == "best.ckpt, step 80"
    assert setting(by_name["trained"], "train data") == setting(by_name["best"], "train data")


def test_a_seed_that_occurs_twice_with_one_result_counts_once_and_is_named(
    made_run: Made, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 1), ("again", 1)):
        made_run(tmp_path / name, seed=seed, skill=0.5)
    result = compare(read_runs([tmp_path]))
    (group,) = result.groups
    by_name = {run.name: run.miou for run in result.runs}
    assert group.seeds == 2
    assert group.mean == statistics.fmean([by_name["a"], by_name["b"]])
    assert group.deviation == statistics.stdev([by_name["a"], by_name["b"]])
    (said,) = (line for line in lines(result) if "occurs" in line)
    assert said == "seed 1 occurs twice with the same val/mIoU, and counts once: again, b"


def test_a_seed_with_two_results_is_named_and_not_averaged(made_run: Made, tmp_path: Path) -> None:
    for name, seed, skill in (("a", 0, 0.5), ("b", 1, 0.5), ("c", 1, 0.6)):
        made_run(tmp_path / name, seed=seed, skill=skill)
    result = compare(read_runs([tmp_path]))
    assert result.groups == []
    by_name = {run.name: run.miou for run in result.runs}
    (said,) = (line for line in lines(result) if "seed" in line)
    assert said == (
        "seed 1 occurs twice with different val/mIoU, and is not averaged: "
        f"c {by_name['c']:.8f}, b {by_name['b']:.8f}"
    )


def test_unreliable_intervals_are_starred_with_one_footnote(made_run: Made, tmp_path: Path) -> None:
    made_run(tmp_path / "few", images=30)
    made_run(tmp_path / "enough", images=100, skill=0.7)
    result = compare(read_runs([tmp_path]))
    shown = {run.name: between(one) for run, one in zip(result.runs, result.intervals, strict=True)}
    assert shown["few"].endswith(" *")
    assert not shown["enough"].endswith("*")
    assert sum(line.startswith("* unreliable interval") for line in lines(result)) == 1
    reliable = compare(read_runs([tmp_path / "enough"]))
    assert not any("unreliable" in line for line in lines(reliable))


def test_two_results_on_the_same_images_are_paired(made_run: Made, tmp_path: Path) -> None:
    made_run(tmp_path / "a", skill=0.5)
    made_run(tmp_path / "b", skill=0.7)
    made_run(tmp_path / "stopped", state="interrupted")
    result = compare(read_runs([tmp_path]))
    (pair,) = result.pairs
    assert (pair.better.name, pair.other.name) == ("b", "a")
    assert pair.difference == pytest.approx(result.runs[0].miou - result.runs[1].miou)
    assert 0 < pair.interval.low < pair.difference < pair.interval.high
    assert pair.p_value < 0.05
    assert pair.images == 30
    assert any("paired over 30 images" in line and "Holm" not in line for line in lines(result))


def test_more_results_are_compared_with_the_best_and_corrected_for_their_number(
    made_run: Made, tmp_path: Path
) -> None:
    for name, skill in (("a", 0.5), ("b", 0.7), ("c", 0.69), ("d", 0.3)):
        made_run(tmp_path / name, skill=skill)
    made_run(tmp_path / "other", truth_seed=5, skill=0.1)
    result = compare(read_runs([tmp_path]))
    best = result.runs[0]
    assert [pair.better for pair in result.pairs] == [best] * 3
    assert best.evaluation is not None
    plain = []
    for pair in result.pairs:
        assert pair.other.evaluation is not None
        counts = best.evaluation.counts, pair.other.evaluation.counts
        difference, low, high, p_value = paired_test(*counts, confidence=1 - 0.05 / 6)
        assert (pair.difference, pair.interval.low, pair.interval.high) == (difference, low, high)
        plain.append(p_value)
    assert [pair.p_value for pair in result.pairs] == holm(plain, 6)
    text = list(lines(result))
    (start,) = [at for at, line in enumerate(text) if "(intervals: Bonferroni; p: Holm)" in line]
    assert text[start].startswith("b minus others, paired over 30 images")
    assert [line.split()[-1] for line in text[start + 1 : start + 4]] == ["c", "a", "d"]


def test_other_images_are_not_paired(made_run: Made, tmp_path: Path) -> None:
    made_run(tmp_path / "a")
    made_run(tmp_path / "b", truth_seed=5)
    assert compare(read_runs([tmp_path])).pairs == []


def test_runs_measured_on_a_part_of_a_split_are_told_from_whole_ones(
    made_run: Made, tmp_path: Path
) -> None:
    made_run(tmp_path / "whole", skill=0.6)
    for seed in (0, 1):
        limit = {"trainer": {"limit_val_batches": 2}}
        made_run(tmp_path / f"part{seed}", skill=0.8, images=12, seed=seed, settings=limit)
    made_run(tmp_path / "all", skill=0.5, settings={"trainer": {"limit_val_batches": 1.0}})
    result = compare(read_runs([tmp_path]))
    assert result.differing[0] == "val data"
    shown = {run.name: setting(run, "val data") for run in result.runs}
    assert shown["part0"] == "1b1b1b1b…, 12 images of it"
    assert shown["whole"] == shown["all"] == "1b1b1b1b…"
    text = "\n".join(lines(result))
    assert "measured on a part of the split (trainer.limit_val_batches): part" in text
    (why,) = [line for line in text.splitlines() if line.startswith("no paired difference")]
    assert why.endswith("on other images or with none recorded: whole, all")
    assert [group.seeds for group in result.groups] == [2]


def test_what_cannot_be_read_is_listed_with_its_reason(made_run: Made, tmp_path: Path) -> None:
    made_run(tmp_path / "good")
    spoiled = {
        "status.json": "{",
        ".hydra/config.yaml": "a: [",
        "metrics.json": '{"val/mIoU": "high"}',
        "metrics.csv": "step,train/loss\n0,much\n",
        "evaluation.npz": "none",
    }
    for number, (name, text) in enumerate(spoiled.items()):
        run = made_run(tmp_path / f"bad{number}")
        (run / name).write_text(text)
    run = made_run(tmp_path / "empty")
    for name in ("status.json", "metrics.json"):
        (run / name).unlink()
    result = compare(read_runs([tmp_path]))
    assert len(result.runs) == 7
    by_name = {run.name: run for run in result.runs}
    assert by_name["good"].state == "finished"
    for number, name in enumerate(spoiled):
        run_record = by_name[f"bad{number}"]
        assert run_record.state == "unreadable"
        assert name in run_record.reason
        assert math.isnan(run_record.miou)
    assert "status.json" in by_name["empty"].reason
    assert sum(line.startswith("unreadable: ") for line in lines(result)) == 6


BOMB = "a: &a [1,1,1,1,1,1,1,1]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Nine lines of YAML that stand for eight hundred million numbers."""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metrics.json", '{"val/mIoU": 1e999}', "val/mIoU is inf"),
        ("metrics.json", '{"val/mIoU": 1.5}', "val/mIoU is 1.5"),
        ("metrics.json", f'{{"a": {"[" * 100_000}', "metrics.json: "),
        ("metrics.json", f'{{"val/mIoU": {"9" * 400}}}', "63 bits"),
        ("status.json", "[]", "status.json: "),
        (".hydra/config.yaml", BOMB, "an anchor or alias"),
        (".hydra/config.yaml", "!!python/object/apply:os.system [false]", "config.yaml: "),
    ],
)
def test_a_strangers_run_is_read_without_harm(
    made_run: Made, tmp_path: Path, name: str, text: str, said: str
) -> None:
    made_run(tmp_path / "good", seed=1)
    (made_run(tmp_path / "bad") / name).write_text(text)
    bad = next(run for run in compare(read_runs([tmp_path])).runs if run.name == "bad")
    assert bad.state == "unreadable"
    assert said in bad.reason
    assert "\n" not in bad.reason


def test_a_folder_that_cannot_be_looked_into_is_listed(
    made_run: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_run(tmp_path / "good")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> Any:  # a mode of 0 would not keep root out
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    runs = {run.name: run for run in read_runs([tmp_path])}
    assert runs["good"].state == "finished"
    assert runs["closed"].state == "unreadable"
    assert "Permission denied" in runs["closed"].reason


def test_what_lies_inside_a_run_is_no_run_of_its_own(made_run: Made, tmp_path: Path) -> None:
    run = made_run(tmp_path / "runs" / "run")
    inside = made_run(run / "evaluate")
    assert [path for path, _ in find_runs(tmp_path)] == [run]
    names = [record.name for record in read_runs([run, inside, run])]
    assert names == ["run", "run/evaluate"]


def test_a_folder_without_runs_is_an_error(made_run: Made, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, message in (("empty", "no run in it"), ("file", "not a"), ("gone", "no such")):
        with pytest.raises(ConfigError, match=f"{name}: {message}"):
            read_runs([run, tmp_path / name])


def test_the_spreadsheet_has_every_run_metric_and_difference(
    made_run: Made, tmp_path: Path
) -> None:
    made_run(tmp_path / "runs/a", skill=0.7, seed=0, overrides=["seed=0"])
    made_run(tmp_path / 'runs/b, "quoted"', skill=0.6, seed=1, overrides=["seed=1"])
    made_run(tmp_path / "runs/c", state="failed", error="no\nluck")
    result = build([tmp_path / "runs"], tmp_path / "out" / "deep")
    with (tmp_path / "out/deep/compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["a", 'b, "quoted"', "c"]
    assert [row["state"] for row in rows] == ["finished", "finished", "failed"]
    assert [row["seed"] for row in rows][:2] == ["0", "1"]
    for row, run in zip(rows, result.runs, strict=True):
        for name, value in run.metrics.items():
            assert row[name] == ("" if math.isnan(value) else repr(value))
    assert rows[0]["seeds"] == "2"
    assert float(rows[0]["seeds_mean_mIoU"]) == result.groups[0].mean
    assert rows[2]["mIoU"] == ""


def test_curves_are_read_and_thinned(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_curves(path) == {}
    path.write_text("step,epoch,train/loss,val/IoU/cat\n0,0,1.5,\n1,0,nan,\n2,0,0.5,0.1\n")
    (curve,) = read_curves(path).values()
    assert curve.tolist() == [[0, 1.5], [2, 0.5]]
    points = np.array([(step, step % 2) for step in range(1005)], float)
    assert thin(points, 1005).tolist() == points.tolist()
    expected = [[4.5 + 10 * i, 0.5] for i in range(100)] + [[1002, 0.4]]
    assert thin(points, 101).tolist() == expected


def test_a_long_history_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    rows = (f"{step},{step / 7!r},{'' if step % 9 else step}\n" for step in range(120_000))
    path.write_text("step,train/loss,val/loss\n" + "".join(rows) + "120000\n")
    curves = read_curves(path)
    assert curves["train/loss"].tolist() == [[step, step / 7] for step in range(120_000)]
    assert curves["val/loss"].tolist() == [[step, step] for step in range(0, 120_000, 9)]


def test_to_compare_needs_no_torch() -> None:
    code = "import sys, seglab.commands.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_means_over_seeds_are_compared_over_seeds_and_images(
    made_run: Made, tmp_path: Path
) -> None:
    for rate, skill in ((0.1, 0.5), (0.01, 0.7), (0.001, 0.3)):
        for seed in range(3):
            made_run(
                tmp_path / f"{rate}-{seed}",
                skill=skill + seed / 100,
                seed=seed,
                settings={"optimizer": {"lr": rate}},
                overrides=[f"optimizer.lr={rate}", f"seed={seed}"],
            )
    result = compare(read_runs([tmp_path]))
    best, second, worst = result.groups
    assert [result.group_label(group) for group in result.groups] == [
        "lr=0.01", "lr=0.1", "lr=0.001"
    ]  # fmt: skip
    assert [pair.other for pair in result.group_pairs] == [second, worst]
    for pair in result.group_pairs:
        found = over_seeds_and_images(best.counts, pair.other.counts, confidence=1 - 0.05 / 3)
        assert (pair.difference, pair.interval.low, pair.interval.high) == found[:3]
    assert best.interval.low < best.mean < best.interval.high
    widest = max(one.high - one.low for one in result.intervals)
    assert best.interval.high - best.interval.low > widest, "the seeds differ too"
    text = list(lines(result))
    assert text[0].endswith("95 % interval over seeds and images:")
    assert any(line.startswith("lr=0.01 minus others, over seeds and 30 images") for line in text)
    build([tmp_path], tmp_path)
    with (tmp_path / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["seeds_mIoU_low"]) == best.interval.low


def test_a_group_on_different_images_has_an_interval_over_seeds_alone(
    made_run: Made, tmp_path: Path
) -> None:
    for seed in range(3):
        folder = made_run(tmp_path / f"run{seed}", seed=seed)
        (folder / "evaluation.npz").unlink()
    result = compare(read_runs([tmp_path]))
    (group,) = result.groups
    assert group.interval.low < group.mean < group.interval.high
    assert result.group_pairs == []
    assert next(lines(result)).endswith("interval over seeds:")


def test_the_front_of_a_search_is_marked_everywhere(made_run: Made, tmp_path: Path) -> None:
    speeds = {"slow": (0.7, 10.0), "fast": (0.5, 90.0), "beaten": (0.4, 50.0), "equal": (0.7, 10.0)}
    for name, (skill, speed) in speeds.items():
        path = made_run(tmp_path / "search" / name, skill=skill) / "status.json"
        entry = json.loads(path.read_text()) | {"speed/images_per_second": speed}
        path.write_text(json.dumps(entry))
    objectives = {"val/mIoU": "maximize", "speed/images_per_second": "maximize"}
    (tmp_path / "search/objectives.json").write_text(json.dumps(objectives))
    result = build([tmp_path / "search"], tmp_path)
    assert result.front is not None
    assert {run.name for run in result.front.runs} == {"slow", "fast", "equal"}
    with (tmp_path / "compare.csv").open(newline="") as file:
        front = {row["run"]: row["pareto_front"] for row in csv.DictReader(file)}
    assert front == {"slow": "yes", "fast": "yes", "equal": "yes", "beaten": ""}
    assert "Pareto front of val/mIoU, speed/images_per_second:" in list(lines(result))

    objectives["speed/images_per_second"] = "minimize"
    (tmp_path / "search/objectives.json").write_text(json.dumps(objectives))
    front_of_both = compare(read_runs([tmp_path / "search"])).front
    assert front_of_both is not None
    assert {run.name for run in front_of_both.runs} == {"slow", "equal"}
    (tmp_path / "search/objectives.json").write_text('{"val/mIoU": "maximize"}')
    assert compare(read_runs([tmp_path / "search"])).front is None, "one objective has no front"


def test_a_pruned_run_shows_its_last_miou(
    made_run: Made, tmp_path: Path, seglab_cli: Callable[..., Any]
) -> None:
    made_run(tmp_path / "runs/done", skill=0.6)
    made_run(tmp_path / "runs/pruned", skill=0.3, state="pruned")
    answer = seglab_cli("compare", "runs")
    assert answer.code == 0, answer.err
    assert "pruned 0.2950" in answer.out
    with (tmp_path / "compare.csv").open(newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert (rows["pruned"]["mIoU"], float(rows["pruned"]["last_mIoU"])) == ("", 0.3 * 59 / 60)
    assert rows["done"]["last_mIoU"] == ""


def test_a_table_of_a_sweep_has_a_line_per_run_at_80_columns(
    made_run: Made,
    tmp_path: Path,
    seglab_cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(2):
        for rate in (0.00012345678901234, 0.1):
            made_run(
                tmp_path / f"runs/lr={rate},weight_decay=0.01,seed={seed}-ab12cd3{seed}",
                seed=seed,
                settings={"optimizer": {"lr": rate}},
                overrides=[f"optimizer.lr={rate}", f"seed={seed}"],
            )
    monkeypatch.setenv("COLUMNS", "80")
    table = [line for line in seglab_cli("compare", "runs").out.splitlines() if "│" in line]
    assert len(table) == 4
    assert all(len(line) <= 80 for line in table)
    cells = [cell.strip() for cell in table[-1].strip("│").split("│")]
    assert cells[0] in ("0.1", "0.0001235")
    assert re.fullmatch(r"….*-ab12cd3[01]", cells[-1])
