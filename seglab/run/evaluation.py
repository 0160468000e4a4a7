"""The counts of a run's last evaluation, for its page and for comparisons. Imports no torch.

``evaluation.npz`` holds the confusion matrix and the counts of every image, ``samples/fixed`` and
``samples/worst`` a few photographs with their class maps, small enough to go into a page as they
are: ``ID.jpg``, ``ID.truth.png`` and ``ID.prediction.png`` (palette PNGs), each at most
:data:`LONGEST` pixels wide and high.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seglab.errors import RunError, one_line
from seglab.metrics.counts import Counts, Floats, miou
from seglab.run.paths import EVALUATION
from seglab.runtime.files import atomic

MAX_BYTES = 2**30
"""Unpacked; 1,449 images of 21 classes take 0.7 MB."""

LONGEST = 512
"""The longer side of a kept picture, in pixels."""


@dataclass(frozen=True)
class StoredEvaluation:
    """The confusion matrix of a split, and the counts of its images.

    Attributes:
        confusion: ``(K, K)`` int64, pixels by true class (row) and predicted class (column).
        counts: ``(N, 3, K)`` int64, pixels of each class in truth, prediction and both.
        ids: the N images, in the order of the split.
        classes: the K names.
    """

    confusion: npt.NDArray[np.int64]
    counts: Counts
    ids: list[str]
    classes: list[str]

    def mious(self) -> dict[str, float]:
        """Return the mIoU of each image by itself; NaN where all is void."""
        values: Floats = miou(self.counts)
        return dict(zip(self.ids, values.tolist(), strict=True))

    def same_images(self, other: StoredEvaluation) -> bool:
        """Return whether ``other`` was measured on the same images, against the same truth."""
        mine, its = (self.ids, self.classes), (other.ids, other.classes)
        return mine == its and np.array_equal(self.counts[:, 0], other.counts[:, 0])


def save_evaluation(folder: Path, evaluation: StoredEvaluation) -> None:
    """Write ``evaluation.npz`` into a run folder, whole or not at all."""
    with atomic(folder / EVALUATION, binary=True) as file:
        np.savez_compressed(
            file,
            confusion=evaluation.confusion,
            counts=evaluation.counts,
            ids=np.array(evaluation.ids, np.str_),
            classes=np.array(evaluation.classes, np.str_),
        )


def read_evaluation(folder: Path) -> StoredEvaluation | None:
    """Read ``evaluation.npz``; None where there is none.

    Raises:
        RunError: damaged, or not what :func:`save_evaluation` writes.
    """
    path = folder / EVALUATION
    if not path.is_file():
        return None
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            size = sum(member.file_size for member in file.zip.infolist())
            if size > MAX_BYTES:
                raise ValueError(f"{size:,} bytes unpacked; more than {MAX_BYTES:,} are refused")
            arrays: dict[str, Any] = {name: file[name] for name in file.files}
        evaluation = StoredEvaluation(
            arrays["confusion"].astype(np.int64, casting="safe"),
            arrays["counts"].astype(np.int64, casting="safe"),
            [str(name) for name in arrays["ids"].tolist()],
            [str(name) for name in arrays["classes"].tolist()],
        )
    except Exception as error:  # a damaged archive may raise any kind
        raise RunError(f"{path}: damaged, or not an evaluation: {one_line(error)}") from None
    images, size = len(evaluation.ids), len(evaluation.classes)
    if evaluation.confusion.shape != (size, size) or evaluation.counts.shape != (images, 3, size):
        raise RunError(f"{path}: its arrays do not fit {images} images and {size} classes")
    return evaluation


def sample_files(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Return the paths of image, truth and prediction of the sample ``name`` in ``folder``."""
    plain = name.replace("/", "_")
    photo, truth, prediction = (
        folder / f"{plain}{end}" for end in (".jpg", ".truth.png", ".prediction.png")
    )
    return photo, truth, prediction
