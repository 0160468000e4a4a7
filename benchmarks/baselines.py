"""What a model must beat: always background, and a class for each colour.

    python -m benchmarks.baselines data=voc2007 data.root=DIR

The second learns, from the training pixels, the most likely class of each of 16 x 16 x 16 colours;
with the classes' frequencies evened out too, since background wins nearly every colour otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch

from seglab.config.compose import compose
from seglab.data.classes import VOID
from seglab.data.dataset import Sample, VOCSegmentation, open_dataset
from seglab.metrics.confusion import SegmentationMetrics
from seglab.schema import TrainConfig

BINS = 16


def colour(sample: Sample) -> np.ndarray:
    """Return the colour bin of each pixel, (H, W) int."""
    red, green, blue = sample.image.numpy().astype(np.int64) // (256 // BINS)
    return (red * BINS + green) * BINS + blue


def histogram(data: VOCSegmentation) -> np.ndarray:
    """Return how often each class has each colour, (K, colours) float64."""
    k, colours = len(data.classes), BINS**3
    counts = np.zeros(k * colours)
    for sample in data:
        truth = sample.class_map.numpy()
        valid = truth != VOID
        pairs = truth[valid].astype(np.int64) * colours + colour(sample)[valid]
        counts += np.bincount(pairs, minlength=k * colours)
    return counts.reshape(k, colours)


def score(data: VOCSegmentation, predict: Callable[[Sample], np.ndarray]) -> dict[str, float]:
    metrics = SegmentationMetrics(data.classes, per_image=True)
    for index, sample in enumerate(data):
        prediction = torch.from_numpy(predict(sample).astype(np.uint8))
        metrics.update(prediction[None], sample.class_map[None], index=torch.tensor([index]))
    result: dict[str, float] = metrics.compute()
    return result


def main(overrides: list[str]) -> None:
    config = compose("train", TrainConfig, overrides).config.data
    counts = histogram(open_dataset(config, config.train_split))
    likely = counts.argmax(0)
    even = (counts / counts.sum(1, keepdims=True).clip(1)).argmax(0)
    val = open_dataset(config, config.val_split)
    for name, predict in (
        ("always background", lambda sample: np.zeros(sample.size)),
        ("most likely class of the colour", lambda sample: likely[colour(sample)]),
        ("the same, classes evened out", lambda sample: even[colour(sample)]),
    ):
        found = score(val, predict)
        print(
            f"{name:<34} val/mIoU {found['val/mIoU']:.4f} "
            f"({found['val/mIoU_low']:.4f} to {found['val/mIoU_high']:.4f})  "
            f"val/pixel_accuracy {found['val/pixel_accuracy']:.4f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
