"""The samples of an evaluation, for display and for a run's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from seglab.drawing.layout import Pixels
from seglab.drawing.pictures import save_class_map, viewable
from seglab.metrics.confusion import Evaluation
from seglab.run.evaluation import LONGEST, StoredEvaluation, sample_files, save_evaluation
from seglab.run.paths import FIXED, WORST
from seglab.runtime.files import atomic

NUMBER_OF_WORST = 12
"""Of the images with the lowest mIoU; with VOC's about half a megabyte per run."""


class Sample(NamedTuple):
    """An image of a split as it was evaluated, no side longer than :data:`LONGEST`.

    Attributes:
        place: its index in the split.
        id: of the sample.
        miou: of this image; NaN where all of it is void.
        image: ``(H, W, 3)`` uint8.
        truth: class map ``(H, W)`` uint8; None in prediction.
        prediction: class map ``(H, W)`` uint8.
        panel: its picture drawn at its own size, ``(H, W, 3)`` uint8, if any.
    """

    place: int
    id: str
    miou: float
    image: Pixels
    truth: Pixels | None
    prediction: Pixels
    panel: Pixels | None = None


class SampleCollector:
    """The collected samples: selected ones, and those with the lowest mIoU so far.

    Args:
        shown: indices in the split of the selected ones.
        number_of_worst: how many of the worst to keep.
    """

    def __init__(self, shown: set[int], number_of_worst: int) -> None:
        self.shown, self.number_of_worst = shown, number_of_worst
        self.samples: dict[int, Sample] = {}
        self.worst: list[tuple[float, int]] = []

    def offer(
        self,
        place: int,
        name: str,
        miou: float,
        pixels: tuple[Tensor, Tensor, Tensor],
        draw: Callable[[], Pixels | None] = lambda: None,
    ) -> None:
        """Keep an image if selected or among the worst, and drop the one that it replaces.

        Args:
            place: its index in the split.
            name: its id.
            miou: of this image; NaN where all of it is void.
            pixels: image ``(C, H, W)``, truth and prediction ``(H, W)``, all uint8.
            draw: gives its panel; called only if the image is kept.
        """
        if self._wants(place, miou):
            image, truth, prediction = map(shrink, pixels)
            self.samples[place] = Sample(place, name, miou, image, truth, prediction, draw())

    def _wants(self, place: int, miou: float) -> bool:
        if miou == miou:  # otherwise NaN: all of it is void
            self.worst = sorted([*self.worst, (miou, place)])
            for _, other in self.worst[self.number_of_worst :]:
                if other not in self.shown:
                    self.samples.pop(other, None)
            self.worst = self.worst[: self.number_of_worst]
        return place in self.shown or (miou, place) in self.worst


class Validated(NamedTuple):
    """A completed validation.

    Attributes:
        samples: to show, in the order of the split.
        worst: the indices of the worst ones, the worst first.
        evaluation: the counts of all images.
        scores: the metrics.
        epoch: the number of trained epochs, including this one; None outside training.
    """

    samples: list[Sample]
    worst: list[int]
    evaluation: Evaluation
    scores: dict[str, float]
    epoch: int | None = None


def worst_of(evaluation: Evaluation, count: int) -> list[int]:
    """Return the indices of the ``count`` images with the lowest mIoU, the worst first."""
    mious = evaluation.mious()
    order = np.argsort(mious, kind="stable")[: min(count, int(np.isfinite(mious).sum()))]
    return [int(index) for index in evaluation.index[order]]


class SampleWriter:
    """Writes the samples of each evaluation to a run folder, replacing earlier ones.

    Args:
        folder: the run folder.
        ids: of the images, in the order of the split.
        classes: names in the order of the values.
        fixed: indices of the samples kept regardless of score; if empty, no worst ones are kept
            either.
    """

    def __init__(
        self, folder: Path, ids: Sequence[str], classes: Sequence[str], fixed: set[int]
    ) -> None:
        self.folder, self.ids, self.classes, self.fixed = folder, ids, classes, fixed

    def show(self, validated: Validated) -> None:
        """Write ``evaluation.npz`` and the samples; delete those no longer among the worst."""
        if self.fixed:
            self._write_samples(validated)
        evaluation = validated.evaluation
        ids = [self.ids[place] for place in evaluation.index.tolist()]
        confusion, counts = evaluation.confusion.numpy(), evaluation.counts.numpy()
        save_evaluation(self.folder, StoredEvaluation(confusion, counts, ids, list(self.classes)))

    def _write_samples(self, validated: Validated) -> None:
        for sample in validated.samples:
            if sample.place in self.fixed:
                self._write(FIXED, sample)
            if sample.place in validated.worst:
                self._write(WORST, sample)
        names = [self.ids[place] for place in validated.worst]
        worst = {path for name in names for path in sample_files(self.folder / WORST, name)}
        ours = {file.name for name in self.ids for file in sample_files(Path(), name)}
        for path in (self.folder / WORST).glob("*"):
            if path.name in ours and path not in worst:
                path.unlink()

    def _write(self, kind: Path, sample: Sample) -> None:
        (self.folder / kind).mkdir(parents=True, exist_ok=True)
        paths = sample_files(self.folder / kind, sample.id)
        jpeg = BytesIO()  # Pillow would not report a full disk
        Image.fromarray(sample.image).save(jpeg, format="JPEG", quality=80)
        with atomic(paths[0], binary=True, durable=False) as file:
            file.write(jpeg.getvalue())
        for path, class_map in ((paths[1], sample.truth), (paths[2], sample.prediction)):
            if class_map is not None:
                save_class_map(class_map, path)


def shrink(pixels: Tensor) -> Pixels:
    """Shrink ``(C, H, W)`` or ``(H, W)`` uint8 to ``(h, w, 3)`` or ``(h, w)``.

    No side is longer than :data:`LONGEST`; class maps keep their values.
    """
    photo = pixels.ndim == 3
    array: Pixels = (pixels.permute(1, 2, 0) if photo else pixels).cpu().numpy()
    array = viewable(array) if photo else array
    height, width = array.shape[:2]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return array.copy()
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = Image.Resampling.LANCZOS if photo else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(array).resize(size, smooth))
