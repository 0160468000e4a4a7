"""Parameters and images per second of the three families, each at its recipe's evaluation.

    python -m benchmarks.families data.root=DIR [RECIPE=CHECKPOINT …]

From decoded pixels to class maps (for Mask R-CNN objects too), photographs of VOC2007 at their own
size, one pass over the same 40 of the validation split after a warm-up of 4, the models in turn,
three rounds. A checkpoint's weights matter for Mask R-CNN, whose work grows with what it finds.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

from benchmarks.measure import prepare
from seglab.config.compose import compose
from seglab.data.datamodule import VOCDataModule
from seglab.models.weights import load_matching, read_state
from seglab.schema import TrainConfig
from seglab.tasks.base import Task
from seglab.tasks.factories import build_task

RECIPES = ("padded_cnn_voc2007", "fcn8s_voc2007", "mask_rcnn_voc2007")
IMAGES, WARM_UP, ROUNDS = 40, 4, 3


def build(recipe: str, overrides: list[str], checkpoint: str | None) -> tuple[Task, TrainConfig]:
    overrides = [f"experiments={recipe}", "model.weights=null", *overrides]
    if recipe.startswith("fcn"):
        overrides.append("loss.class_weights=null")  # no loss is computed
    config = compose("train", TrainConfig, overrides).config
    task = build_task(config)
    if checkpoint is not None:
        load_matching(task.net, read_state(Path(checkpoint)), checkpoint)
    return task.eval(), config  # type: ignore[return-value]


@torch.inference_mode()
def seconds(task: Task, images: list[torch.Tensor]) -> float:
    for image in images[:WARM_UP]:
        task.predict(image[None])
    start = time.perf_counter()
    for image in images:
        task.predict(image[None])
    return time.perf_counter() - start


def main(arguments: list[str]) -> None:
    given = dict(one.split("=", 1) for one in arguments if one.split("=")[0] in RECIPES)
    overrides = [one for one in arguments if one.split("=")[0] not in RECIPES]
    built = {recipe: build(recipe, overrides, given.get(recipe)) for recipe in RECIPES}
    threads = prepare(None)
    config = built[RECIPES[0]][1]
    samples = VOCDataModule(config.data).split("val")
    images = [samples[index].image for index in range(IMAGES)]
    times: dict[str, list[float]] = {recipe: [] for recipe in RECIPES}
    for _ in range(ROUNDS):
        for recipe, (task, _) in built.items():
            times[recipe].append(seconds(task, images))
    for recipe, (task, _) in built.items():
        rates = [IMAGES / one for one in times[recipe]]
        print(
            f"{recipe}: {sum(p.numel() for p in task.net.parameters()) / 1e6:.3f} million "
            f"parameters, {statistics.median(rates):.2f} images a second on {threads} threads "
            f"({min(rates):.2f} to {max(rates):.2f})"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
