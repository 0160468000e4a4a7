"""Run folders made up in milliseconds, with everything that a page shows."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml
from PIL import Image

from seglab.data.classes import flat_palette
from seglab.run.evaluation import StoredEvaluation, sample_files, save_evaluation
from seglab.run.paths import FIXED, WORST

CLASSES = ("background", "circle", "square", "star")
SIDE = 24


def make_run(
    folder: Path,
    *,
    skill: float = 0.6,
    seed: int = 0,
    state: str = "finished",
    error: str | None = None,
    settings: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    classes: Sequence[str] = CLASSES,
    images: int = 30,
    truth_seed: int = 1,
    steps: int = 60,
    root: str = "/data",
    data: Mapping[str, str] | None = MappingProxyType({"train": "7a" * 32, "val": "1b" * 32}),
    checkpoint: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run whose predictions are right in a share ``skill`` of the pixels.

    Truth follows from ``truth_seed``, so that runs are on the same images unless it differs. With
    a ``checkpoint``, as ``status.json`` has it, the run is an evaluation of that.
    """
    rng = np.random.default_rng([seed, round(1000 * skill)])
    truth = np.random.default_rng(truth_seed).integers(0, len(classes), (images, SIDE, SIDE))
    wrong = rng.random(truth.shape) > skill
    prediction = np.where(wrong, rng.integers(0, len(classes), truth.shape), truth)
    ids = [f"image{index:03}" for index in range(images)]
    kept = evaluation(truth, prediction, ids, classes)
    iou = kept.counts.sum(0)[2] / (kept.counts.sum(0)[:2].sum(0) - kept.counts.sum(0)[2])
    metrics = {"val/mIoU": float(iou.mean()), "val/loss": 2 - skill, "val/pixel_accuracy": skill}
    metrics |= {f"val/IoU/{name}": float(value) for name, value in zip(classes, iou, strict=True)}

    (folder / ".hydra").mkdir(parents=True)
    config: dict[str, Any] = {
        "seed": seed,
        "data": {"name": "made", "root": root, "classes": list(classes)},
        "model": {"name": "net"},
        "optimizer": {"lr": 0.1},
    }
    for group, values in (settings or {}).items():
        config[group] = {**config.get(group, {}), **values}
    if checkpoint is not None:
        config["checkpoint"] = f"/some/{folder.name}/{checkpoint.get('name', 'last.ckpt')}"
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    status: dict[str, Any] = {"status": state, "started": "2026-01-01T00:00:00+00:00"}
    extras = {"error": error, "data": data and dict(data), "checkpoint": checkpoint}
    status |= {name: value for name, value in extras.items() if value}
    (folder / "status.json").write_text(json.dumps(status))
    if state == "finished":
        (folder / "metrics.json").write_text(json.dumps(metrics))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "train/loss", "lr/head", "val/mIoU", "val/loss"])
        for step in range(steps):
            validated = step % 20 == 19
            row = [step, 2 - skill * step / steps, 0.1 * (1 - step / steps)]
            writer.writerow([*row, *([skill * step / steps, 2 - skill] if validated else ["", ""])])
    save_evaluation(folder, kept)
    for kind, chosen in ((FIXED, (0, images - 1)), (WORST, (1, 2, 3))):
        (folder / kind).mkdir(parents=True)
        for index in chosen:
            photo, true, predicted = sample_files(folder / kind, ids[index])
            shade = np.full((SIDE, SIDE, 3), 40 + 5 * (index % 40), np.uint8)
            Image.fromarray(shade).save(photo)
            for path, pixels in ((true, truth[index]), (predicted, prediction[index])):
                picture = Image.fromarray(pixels.astype(np.uint8))
                picture.putpalette(flat_palette())
                picture.save(path)
    return folder


def evaluation(
    truth: np.ndarray, prediction: np.ndarray, ids: list[str], classes: Sequence[str]
) -> StoredEvaluation:
    """Count class maps ``(N, H, W)`` into what a run keeps."""
    size = len(classes)
    pairs = (truth * size + prediction).reshape(len(ids), -1)
    confusions = np.stack([np.bincount(row, minlength=size**2) for row in pairs])
    confusions = confusions.reshape(-1, size, size)
    both = confusions.diagonal(axis1=1, axis2=2)
    counts = np.stack([confusions.sum(2), confusions.sum(1), both], axis=1)
    return StoredEvaluation(confusions.sum(0), counts, ids, list(classes))
