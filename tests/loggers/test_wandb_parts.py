"""The parts of W&B tracking that need no W&B process: names, facts, rows, pictures, charts."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from seglab.config.compose import compose
from seglab.loggers.track import WandbTracking, artifact_name, track
from seglab.loggers.wandb import facts, media
from seglab.loggers.wandb.connection import chosen_mode
from seglab.loggers.wandb.facts import run_name
from seglab.loggers.wandb.logger import WandbLogger
from seglab.metrics.confusion import SegmentationMetrics
from seglab.run.samples import Sample
from seglab.schema import TrainConfig

CLASSES = ("background", "leaf", "weed")


def test_the_examples_of_names_hold() -> None:
    assert doctest.testmod(facts).failed == 0
    assert doctest.testmod(facts).attempted == 3


def test_what_was_tuned_is_named_without_dots() -> None:
    settings = {
        "optimizer.lr": 0.1, "data.batch_size": 4, "model.net.channels": 8, "seed": 1,
        "data.root": "/far", "data.scale": [1.0, 2.0],
    }  # fmt: skip
    given = ["model.net.channels=8", "seed=1", "data.root=/far", "data.scale=[1,2]", "model=fcn8s"]
    found = facts.tuned(settings, given)
    assert found == {"lr": 0.1, "batch_size": 4, "channels": 8}


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "fcn8s voc2007"),
        (["model=fcn8s", "data=voc2007", "data.root=/far", "hydra.run.dir=x"], "fcn8s voc2007"),
        (["optimizer=sgd", "+callbacks.a.b=1"], "fcn8s voc2007 optimizer=sgd b=1"),
        (["model.weights=/far/away/w.pth"], "fcn8s voc2007 weights=w.pth"),
        (["trainer.devices=2", "logger.group=g", "resume=true"], "fcn8s voc2007"),
        (["checkpoints=last", "data.allow_overlap=true", "hydra/launcher=slurm"], "fcn8s voc2007"),
        (["data.rootless=1"], "fcn8s voc2007 rootless=1"),
    ],
)
def test_a_name_tells_what_matters(overrides: list[str], name: str) -> None:
    assert run_name("fcn8s", "voc2007", overrides) == name


def test_a_name_is_as_long_as_wandb_takes() -> None:
    name = run_name("fcn8s", "voc2007", [f"data.x{i}={i}" for i in range(100)])
    assert len(name) == 128
    assert name.endswith("…")


def test_an_artifact_is_named_by_letters_that_wandb_takes() -> None:
    config = compose("train", TrainConfig, ["data.name='my data+1'"]).config
    assert artifact_name(config, "1a") == "padded_cnn-my-data-1-1a"


@pytest.mark.parametrize(
    ("configured", "said", "mode"),
    [
        (None, None, None),
        (None, "dryrun", "offline"),
        (None, "disabled", "disabled"),
        ("online", "disabled", "online"),
        ("offline", None, "offline"),
    ],
)
def test_the_configuration_goes_before_wandbs_variable(
    monkeypatch: pytest.MonkeyPatch, configured: str | None, said: str | None, mode: str | None
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if said is not None:
        monkeypatch.setenv("WANDB_MODE", said)
    assert chosen_mode(configured) == mode


def test_the_values_of_one_step_are_one_row() -> None:
    rows: list[dict[str, Any]] = []
    logger = WandbLogger(SimpleNamespace(log=lambda row: rows.append(dict(row))))  # type: ignore[arg-type]
    logger.log_metrics({"train/loss": 2.0}, step=0)
    logger.log_metrics({"lr/head": 0.1}, step=0)
    logger.log_metrics({"train/loss": 1.0}, step=1)
    logger.log_metrics({"speed/images_per_second": 9.0})
    logger.flush()
    logger.flush()
    logger.log_metrics({"val/mIoU": 0.5})
    logger.flush()
    assert rows == [
        {"step": 0, "train/loss": 2.0, "lr/head": 0.1},
        {"step": 1, "train/loss": 1.0, "speed/images_per_second": 9.0},
        {"step": 1, "val/mIoU": 0.5},
    ]


def test_another_process_than_the_first_only_gathers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("SEGLAB_RANKS", "2")
    monkeypatch.delenv("WANDB_MODE")
    config = compose("train", TrainConfig, []).config
    there = track(config, "train", tmp_path, [], Console())
    assert isinstance(there, WandbTracking)
    there.prepare(tmp_path, CLASSES, 5)
    assert len(there.callbacks) == 1
    with there.run(SimpleNamespace(), torch.nn.Identity(), {}):  # type: ignore[arg-type]
        there.loggers[0].log_metrics({"train/loss": 1.0}, step=0)
        there.results({})
    assert list(tmp_path.iterdir()) == []


def sample(height: int, width: int, miou: float = 0.5) -> Sample:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    truth = random.choice(np.array([0, 1, 2, 255], np.uint8), (height, width))
    return Sample(3, "a", miou, image, truth, truth % 3)


def test_a_picture_has_both_masks_and_names_void() -> None:
    picture = media.masked_image(sample(30, 40), CLASSES)
    assert picture._masks.keys() == {"truth", "prediction"}
    labels = picture._masks["truth"]._val["class_labels"]
    assert labels == {0: "background", 1: "leaf", 2: "weed", 255: "void"}


def test_the_charts_say_what_the_evaluation_says() -> None:
    metrics = SegmentationMetrics(CLASSES)
    truth = torch.tensor([[[0, 0, 0, 1], [0, 1, 1, 255]]], dtype=torch.uint8)
    prediction = torch.tensor([[[0, 0, 1, 1], [0, 1, 0, 0]]], dtype=torch.uint8)
    metrics.update(prediction, truth, index=torch.tensor([3]))
    scores = metrics.compute()
    assert metrics.evaluation is not None
    confusion = media.confusion_chart(metrics.evaluation, CLASSES).table.data
    shares = {(truth, predicted): share for truth, predicted, share in confusion}
    assert shares["background", "background"] == 3 / 4
    assert shares["leaf", "background"] == 1 / 3
    assert shares["weed", "leaf"] == 0
    assert len(confusion) == 9
    iou = dict(media.iou_chart(scores, CLASSES).table.data)
    assert (iou["background"], iou["leaf"]) == (3 / 5, 2 / 4)
    table = media.results_table([sample(2, 4, (3 / 5 + 2 / 4) / 2)], CLASSES, metrics.evaluation)
    assert json.dumps([row[::2] for row in table.data]) == f'[["a", {(3 / 5 + 2 / 4) / 2}]]'
