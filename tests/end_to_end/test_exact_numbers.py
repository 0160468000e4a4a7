"""Losses and steps are what they are said to be, through the commands."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import seglab
from seglab.config.compose import compose
from seglab.data.datamodule import VOCDataModule
from seglab.schema import TrainConfig
from seglab.tasks.factories import build_task

FCN = ["model=fcn8s", "model.net.backbone=mobilenet_v2", "model.net.context=true"]
PHOTOS = ["data.synth.width=101", "data.synth.height=75", "data.synth.val=9"]
MASK_RCNN = [
    "model=mask_rcnn", "model.net.channels=16", "model.net.box_head=32", "model.net.mask_layers=1"
]  # fmt: skip


def load(folder: Path) -> dict[str, Tensor]:
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    state: dict[str, Tensor] = checkpoint["state_dict"]
    return state


@pytest.fixture
def sized(tiny: list[str]) -> list[str]:
    """Return the settings of a tiny run that leave the net to others."""
    return [line for line in tiny if not line.startswith("model.net.")]


# Validation.


@pytest.fixture
def evaluated(
    seglab_cli: Callable[..., Any], sized: list[str], tmp_path: Path
) -> Callable[..., dict[int, bytes]]:
    """Train for a step, and return the bytes of ``metrics.json`` by ``data.eval_batch_size``."""

    def evaluate(*settings: str) -> dict[int, bytes]:
        run = [*sized, *PHOTOS, "data.root=data", "trainer.limit_train_batches=1"]
        run += ["trainer.max_epochs=1", "trainer.threads=2", *settings, "hydra.run.dir=run"]
        answer = seglab_cli("train", *run)
        assert answer.code == 0, answer.err
        found = {}
        for size in (1, 3, 4):
            batches = f"data.eval_batch_size={size}"
            checkpoint = "checkpoint=run/checkpoints/last.ckpt"
            answer = seglab_cli("evaluate", checkpoint, batches, f"hydra.run.dir=by{size}")
            assert answer.code == 0, answer.err
            found[size] = (tmp_path / f"by{size}/metrics.json").read_bytes()
        return found

    return evaluate


LEARNED = ["optimizer.lr=0.1", "schedule.warmup_steps=0"]
"""So that a step moves every score layer far from the zeros that it begins with."""


@pytest.mark.parametrize("net", [FCN, MASK_RCNN], ids=["fcn8s", "mask_rcnn"])
def test_evaluations_are_equal_to_the_byte_whatever_the_batch_size(
    evaluated: Callable[..., dict[int, bytes]], net: list[str]
) -> None:
    assert len(set(evaluated(*net, *LEARNED).values())) == 1


def test_predict_and_load_give_the_class_maps_that_were_evaluated(
    evaluated: Callable[..., dict[int, bytes]], seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    found = json.loads(evaluated(*FCN, *LEARNED)[3])
    checkpoint = "run/checkpoints/last.ckpt"
    model = seglab.load(checkpoint)
    data = ["data.root=data", "data.synth.val=9"]
    for name in ("1", "4", "load"):
        if name == "load":
            (tmp_path / name).mkdir()
            for path in (tmp_path / "1").glob("*.png"):
                photo = tmp_path / f"data/VOC2007/JPEGImages/{path.stem}.jpg"
                Image.fromarray(model.predict(photo).numpy()).save(tmp_path / name / path.name)
        else:
            answer = seglab_cli(
                "predict", f"checkpoint={checkpoint}", "input=data/VOC2007/JPEGImages",
                f"output={name}", f"data.eval_batch_size={name}",
            )  # fmt: skip
            assert answer.code == 0, answer.err
        answer = seglab_cli("score", f"predictions={name}", *data, f"hydra.run.dir=score_{name}")
        assert answer.code == 0, answer.err
        scores = json.loads((tmp_path / f"score_{name}/metrics.json").read_text())
        assert {key: found[key] for key in scores} == scores


def test_the_loss_of_an_evaluation_is_the_weighted_cross_entropy_of_all_its_pixels(
    evaluated: Callable[..., dict[int, bytes]], tmp_path: Path
) -> None:
    weights = [0.1, 1.0, 2.0, 0.0, 4.0, 1.0, 9.0]
    smoothing = 0.1
    settings = [f"loss.class_weights={weights}", f"loss.label_smoothing={smoothing}", *FCN]
    found = evaluated(*settings, "optimizer.lr=1e-2")
    model = seglab.load(tmp_path / "run/checkpoints/last.ckpt")
    classes = list(model.classes)
    samples = seglab.VOCSegmentation(tmp_path / "data", 2007, "val", classes=classes)
    by_class = torch.tensor(weights, dtype=torch.float64)
    total = weight = 0.0
    averaged = []
    for sample in samples:
        with torch.inference_mode():
            logits = model.task.infer(sample.image[None]).double()
        truth = sample.class_map.long()[None]
        arguments = {"ignore_index": 255, "reduction": "sum", "label_smoothing": smoothing}
        loss = F.cross_entropy(logits, truth, by_class, **arguments).item()
        own = by_class[truth[truth != 255]].sum().item()
        total, weight = total + loss, weight + own
        averaged.append(loss / own)
    value = json.loads(found[4])["val/loss"]
    assert value == pytest.approx(total / weight, rel=1e-6)
    assert not math.isclose(value, sum(averaged) / len(averaged), rel_tol=1e-4)


# Accumulated gradients.

SGD = ["optimizer=sgd", "optimizer.lr=0.05", "schedule=constant", "schedule.warmup_steps=0"]
SGD += ["trainer.max_epochs=1"]


def by_hand(overrides: list[str], group: int, batches: int) -> dict[str, Tensor]:
    """Train an epoch in a plain loop, each step following the mean over its batches."""
    config = compose("train", TrainConfig, overrides).config
    data = VOCDataModule(config.data, config.seed)
    torch.manual_seed(config.seed)
    task = build_task(config).train()
    optimizer, _ = task.optimizer_and_schedule(steps=1)
    whole = list(data.train_dataloader())[:batches]
    for first in range(0, len(whole), group):
        step = whole[first : first + group]
        optimizer.zero_grad()
        for batch in step:
            (task.loss(task(batch.image), batch.class_map) / len(step)).backward()
        optimizer.step()
    return task.state_dict()


@pytest.mark.parametrize(("group", "limit"), [(3, None), (3, 4), (2, 1), (7, None), (1, None)])
def test_an_incomplete_group_of_batches_counts_as_much_as_the_others(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    group: int,
    limit: int | None,
) -> None:
    run = [*tiny, "data.synth.train=10", "data.batch_size=2", "data.root=data", *SGD]
    accumulated = [f"trainer.accumulate_grad_batches={group}"]
    accumulated += [f"trainer.limit_train_batches={limit}"] if limit else []
    assert seglab_cli("train", *run, *accumulated, "hydra.run.dir=run").code == 0
    expected = by_hand(run, group, limit or 5)
    trained = load(tmp_path / "run")
    assert set(trained) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(trained[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("net", [FCN, MASK_RCNN], ids=["semantic", "instance"])
def test_a_group_of_one_batch_is_that_batch_and_is_logged_unscaled(
    seglab_cli: Callable[..., Any], sized: list[str], tmp_path: Path, net: list[str]
) -> None:
    for group in (1, 4):
        answer = seglab_cli(
            "train", *sized, *net, *SGD, "trainer.limit_train_batches=1",
            f"trainer.accumulate_grad_batches={group}", f"hydra.run.dir=of{group}",
        )  # fmt: skip
        assert answer.code == 0, answer.err
    one, four = (load(tmp_path / name) for name in ("of1", "of4"))
    for name, value in one.items():
        assert torch.equal(four[name], value), name
    logged = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("of1", "of4")]
    assert logged[0]["train/loss"] == logged[1]["train/loss"] > 0
