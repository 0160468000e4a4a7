"""Boundary IoU against erosions of one mask at a time, as its authors define it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seglab.config.compose import compose
from seglab.metrics.boundary import BoundaryIoU, band, boundary_counts
from seglab.run.metric_names import metric_names
from seglab.run.status import SPEED
from seglab.schema import TrainConfig


def eroded(mask: np.ndarray, times: int) -> np.ndarray:
    """Erode by a 3x3 square, the outside empty: the minimum over nine shifts, again and again."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        shifts = [np.roll(padded, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        mask = np.logical_and.reduce(shifts)[1:-1, 1:-1]
    return mask


def reference(prediction: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    width = max(1, round(0.02 * math.sqrt(target.shape[0] ** 2 + target.shape[1] ** 2)))
    counts = np.zeros((3, classes), np.int64)
    for value in range(classes):
        masks = [(one == value) & (target != 255) for one in (target, prediction)]
        truth, found = (mask & ~eroded(mask, width) for mask in masks)
        counts[:, value] = truth.sum(), found.sum(), (truth & found).sum()
    return counts


@pytest.mark.parametrize("size", [(1, 1), (7, 50), (61, 40), (120, 200), (150, 77)])
@pytest.mark.parametrize("cell", [1, 9, 40])
def test_counts_equal_those_of_eroded_masks(size: tuple[int, int], cell: int) -> None:
    random = np.random.default_rng([*size, cell])
    blocks = random.integers(0, 4, (2, *(-(-length // cell) for length in size)), np.uint8)
    maps = blocks.repeat(cell, 1).repeat(cell, 2)[:, : size[0], : size[1]]
    target, prediction = maps.copy()
    target[target == 3] = 255
    ours = boundary_counts(torch.from_numpy(prediction), torch.from_numpy(target), 5)
    assert (ours.numpy() == reference(prediction, target, 5)).all()


def test_a_band_is_as_wide_as_asked() -> None:
    class_map = torch.zeros(40, 60, dtype=torch.uint8)
    class_map[10:, 20:] = 1
    expected = np.zeros((40, 60), bool)
    for value in (0, 1):
        mask = class_map.numpy() == value
        expected |= mask & ~eroded(mask, 3)
    assert (band(class_map, 3).numpy() == expected).all()


def test_an_error_at_the_contour_of_a_large_object_counts_more_than_in_iou() -> None:
    target = torch.zeros(1, 100, 100, dtype=torch.uint8)
    target[0, 20:80, 20:80] = 1
    prediction = target.clone()
    prediction[0, 20:22] = 0
    metric = BoundaryIoU(("a", "b", "absent"))
    metric.update(prediction, target)
    result = metric.compute()
    assert result["val/boundary_IoU/b"] < 0.85 < 58 / 60
    assert math.isnan(result["val/boundary_IoU/absent"])
    present = [result["val/boundary_IoU/a"], result["val/boundary_IoU/b"]]
    assert result["val/boundary_IoU"] == pytest.approx(sum(present) / 2)
    metric.reset()
    metric.update(target, target)
    assert metric.compute()["val/boundary_IoU"] == 1


def test_it_is_logged_and_the_same_on_any_number_of_processes(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    own = [*tiny, "trainer.max_epochs=1", "trainer.threads=1", "evaluation.boundary=true"]
    assert seglab_cli("train", *own, "hydra.run.dir=run").code == 0
    folders = ["run"]
    for processes, batch in ((1, 3), (2, 2)):
        folders.append(f"e{processes}")
        answer = seglab_cli(
            "evaluate",
            "checkpoint=run/checkpoints/last.ckpt",
            f"trainer.devices={processes}",
            f"data.eval_batch_size={batch}",
            f"hydra.run.dir={folders[-1]}",
        )
        assert answer.code == 0, answer.err
        assert "val/boundary_IoU" in answer.out
    read = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in folders]
    names = [name for name in read[0] if "boundary" in name]
    assert {"val/boundary_IoU", "val/boundary_IoU/background"} <= {*names}
    values = [{name: one[name] for name in names} for one in read]
    assert values[0] == values[1] == values[2]
    assert {*read[0], SPEED} == {*metric_names(compose("train", TrainConfig, own).config)}

    root = ["data=synthetic", *(one for one in tiny if one.startswith("data."))]
    assert seglab_cli("data", "synth", "data.root=d", *tiny[:4]).code == 0
    call = ["checkpoint=run/checkpoints/last.ckpt", "input=d/VOC2007/JPEGImages", "output=maps"]
    assert seglab_cli("predict", *call).code == 0
    answer = seglab_cli("score", "predictions=maps", "boundary=true", *root, "hydra.run.dir=score")
    assert answer.code == 0, answer.err
    scored = json.loads((tmp_path / "score/metrics.json").read_text())
    assert {name: scored[name] for name in names} == values[0]
