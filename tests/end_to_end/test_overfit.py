"""debug=overfit learns a few images, measures those, and ends with a verdict."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seglab.run.evaluation import read_evaluation

SMALL = ["data.synth.train=9", "data.synth.val=2", "data.synth.width=64", "data.synth.height=48"]
OVERFIT = ["train", "debug=overfit", "trainer.accelerator=cpu", *SMALL]


def status(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "status.json").read_text())
    return content


@pytest.mark.slow
def test_the_default_net_learns_the_images_that_are_measured(
    seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    answer = seglab_cli(*OVERFIT, "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["val/mIoU"] >= 0.95
    verdict = f"the model can learn: val/mIoU {metrics['val/mIoU']:.4f} on the images that it"
    assert answer.out.splitlines()[-1] == f"{verdict} learned, at least 0.95"
    kept = read_evaluation(tmp_path / "run")
    assert kept is not None
    assert kept.ids == ["000001", "000002", "000003", "000004"], "of nine training images"
    assert np.asarray(kept.counts).shape[0] == 4
    data = status(tmp_path / "run")["data"]
    assert data["train"] == data["val"]
    assert status(tmp_path / "run")["status"] == "finished"


def test_a_model_that_does_not_learn_them_has_failed_and_is_told_what_to_look_at(
    seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    more = ["optimizer.lr=1e-9", "model.frozen=[features.0]", "trainer.max_epochs=4"]
    more += ["loss.class_weights=[1,1,1,1,1,1,2]"]
    answer = seglab_cli(*OVERFIT, *more, "hydra.run.dir=run")
    assert answer.code == 1
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    miou = f"val/mIoU {metrics['val/mIoU']:.4f} on the images that it learned, less than"
    assert f"{miou} evaluation.required_miou=0.95; look at optimizer.lr=1e-09" in answer.last_line
    for named in ("trainer.max_epochs=4", "class_weights", "model.frozen=", "void", "data show"):
        assert named in answer.last_line
    entry = status(tmp_path / "run")
    assert entry["status"] == "failed"
    assert entry["error"] in answer.last_line
    with (tmp_path / "run/metrics.csv").open() as file:
        assert len([row for row in csv.DictReader(file) if row["train/loss"]]) == 4


@pytest.mark.parametrize(("required", "code"), [(0.0, 0), (0.99, 1)])
def test_mask_rcnn_gets_a_verdict_too(
    seglab_cli: Callable[..., Any], tmp_path: Path, required: float, code: int
) -> None:
    net = ["model=mask_rcnn", "model.net.channels=32", "model.net.box_head=64"]
    short = ["trainer.max_epochs=2", f"evaluation.required_miou={required}"]
    answer = seglab_cli(*OVERFIT, *net, *short, "data.max_images=2", "data.batch_size=2",
                        "hydra.run.dir=run")  # fmt: skip
    assert answer.code == code, answer.err
    assert ("the model can learn" in answer.out.splitlines()[-1]) == (code == 0)
    assert status(tmp_path / "run")["status"] == ("finished" if code == 0 else "failed")


def test_only_so_many_images_of_each_split_are_used_and_checked(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    from seglab.data.synthetic import SyntheticSpec, write_tree

    write_tree(tmp_path / "data", SyntheticSpec(train=8, val=5, width=64, height=48))
    (tmp_path / "data/VOC2007/JPEGImages/000006.jpg").write_bytes(b"damaged")
    own = [*tiny, "data.root=data", "trainer.max_epochs=1"]
    assert seglab_cli("train", *own, "hydra.run.dir=all").code == 1
    answer = seglab_cli("train", *own, "data.max_images=4", "hydra.run.dir=few")
    assert answer.code == 0, answer.err
    kept = read_evaluation(tmp_path / "few")
    assert kept is not None
    assert kept.ids == ["000009", "000010", "000011", "000012"]
