"""The best, the median and the worst validation images of a model, as a picture for the book.

    python -m benchmarks.gallery EVALUATION CHECKPOINT OUTPUT.jpg [key=value …]

EVALUATION is the folder of ``seglab evaluate checkpoint=CHECKPOINT [key=value …]``, whose
``evaluation.npz`` has the counts of every image. Images are ordered by the mIoU of each by itself.
A model of objects is shown with them, each in a colour of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import seglab
from seglab.config.stored import override_stored
from seglab.data.classes import VOID
from seglab.data.dataset import Sample, open_dataset
from seglab.data.instances import Detections, find_instances
from seglab.drawing.pictures import instance_colours, overlay
from seglab.run.checkpoints import read_checkpoint, stored_config
from seglab.run.evaluation import read_evaluation
from seglab.tasks.instance import InstanceSegmentation

EACH, WIDTH, GAP, TOP = 3, 220, 8, 26


def chosen(mious: dict[str, float]) -> dict[str, list[str]]:
    """Return the ids of the best, the median and the worst images, best first."""
    known = {name: value for name, value in mious.items() if not np.isnan(value)}
    order = sorted(known, key=lambda name: (-known[name], name))
    middle = (len(order) - EACH) // 2
    return {"best": order[:EACH], "median": order[middle:][:EACH], "worst": order[-EACH:]}


def sheet(headings: Sequence[str], rows: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """Draw captioned rows of pictures, each WIDTH wide and as high as the others of its row."""
    height = TOP + sum(row[0].height + TOP + GAP for _, row in rows)
    made = Image.new("RGB", (GAP + len(headings) * (WIDTH + GAP), height), "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(size=14)
    for column, heading in enumerate(headings):
        draw.text((GAP + column * (WIDTH + GAP), 4), heading, fill="black", font=font)
    y = TOP
    for caption, row in rows:
        draw.text((GAP, y + 4), caption, fill="black", font=font)
        for column, one in enumerate(row):
            made.paste(one, (GAP + column * (WIDTH + GAP), y + TOP))
        y += row[0].height + TOP + GAP
    return made


def objects(sample: Sample, found: Detections) -> list[Image.Image]:
    """Draw the true objects of a sample over its photograph, and those that were found."""
    assert sample.instance_map is not None
    photo = sample.image.permute(1, 2, 0).numpy()
    truth = find_instances(sample.class_map, sample.instance_map)
    true = Detections(truth.masks, truth.labels, torch.ones(len(truth)), truth.boxes)
    return [
        overlay(photo, each.paint(range(1, 1 + len(each))).numpy(), colours=instance_colours())
        for each in (true, found)
    ]


def main(evaluation: str, checkpoint: str, output: str, *overrides: str) -> None:
    measured = read_evaluation(Path(evaluation))
    if measured is None:
        raise SystemExit(f"{evaluation}: has no evaluation.npz; give the folder of evaluate")
    mious = measured.mious()
    config = override_stored(stored_config(read_checkpoint(Path(checkpoint))), [*overrides])
    model = seglab.load(checkpoint, *overrides)
    task = model.task if isinstance(model.task, InstanceSegmentation) else None
    data = open_dataset(config.data, config.data.val_split, instances=task is not None)
    rows = []
    for kind, names in chosen(mious).items():
        for name in names:
            sample = data[data.ids.index(name)]
            photo = sample.image.permute(1, 2, 0).numpy()
            maps = [sample.class_map.numpy(), model.predict(sample.image).numpy()]
            counts = np.bincount(maps[1][maps[0] != VOID], minlength=len(measured.classes))
            if not np.array_equal(counts, measured.counts[measured.ids.index(name), 1]):
                raise SystemExit(f"{evaluation}: measured another model: {name} differs")
            size = WIDTH, round(WIDTH * photo.shape[0] / photo.shape[1])
            if task is None:
                drawn = [overlay(photo, labels) for labels in maps]
            else:
                found = model.detect(sample.image).above(task.score_threshold)
                drawn = objects(sample, found)
            pictures = [Image.fromarray(photo), *drawn]
            shown = [one.resize(size, Image.Resampling.LANCZOS) for one in pictures]
            values = np.unique(maps[0][maps[0] < len(measured.classes)])
            classes = ", ".join(measured.classes[value] for value in values if value)
            rows.append((f"{kind}: {name}, mIoU {mious[name]:.2f}, {classes}", shown))
    sheet(("photograph", "truth", "class map" if task is None else "objects"), rows).save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
