"""Keeps what a page shows of an evaluation: its counts, the fixed samples and the worst ones."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from PIL import Image
from torch import Tensor

from seglab.data.sampling import spread
from seglab.drawing.pictures import Pixels, save_class_map
from seglab.metrics.confusion import Evaluation, confusion_matrix, per_image_counts
from seglab.metrics.counts import miou
from seglab.runs.evaluation import (
    FIXED,
    LONGEST,
    WORST,
    KeptEvaluation,
    sample_files,
    save_evaluation,
)
from seglab.runtime.files import atomic

NUMBER_OF_WORST = 12
"""How many of the worst images are kept: with VOC's about half a megabyte a run."""


class KeepSamples:
    """Gathers the samples of one evaluation, and writes them into a run folder.

    Args:
        folder: the run folder.
        ids: the images of the split, in its order.
        classes: names in the order of the values.
        count: how many fixed samples to keep, evenly spread; with 0 no worst ones either.
    """

    def __init__(
        self, folder: Path, ids: Sequence[str], classes: Sequence[str], count: int
    ) -> None:
        self.folder, self.ids, self.classes = folder, ids, classes
        self.chosen = spread(len(ids), count)
        self.worst: list[tuple[float, int, Pixels, Pixels, Pixels]] = []

    def add(self, index: int, image: Tensor, truth: Tensor, prediction: Tensor) -> None:
        """Take the sample at ``index`` of the split.

        Args:
            index: its place in ``ids``.
            image: ``(3, H, W)`` uint8.
            truth: ``(H, W)`` uint8 class map.
            prediction: ``(H, W)`` uint8 class map.
        """
        if not self.chosen:
            return
        matrix = confusion_matrix(prediction, truth, len(self.classes))
        score = float(miou(per_image_counts(matrix[None])[0].cpu().numpy()))
        full = len(self.worst) == NUMBER_OF_WORST
        bad = score < self.worst[-1][0] if full else score == score  # NaN: all of it is void
        if not (bad or index in self.chosen):
            return
        whole = (image.permute(1, 2, 0), truth, prediction)
        photo, true, predicted = (_small(one.cpu().numpy()) for one in whole)
        if index in self.chosen:
            self._write(FIXED, index, photo, true, predicted)
        if bad:
            self.worst.append((score, index, photo, true, predicted))
            self.worst = sorted(self.worst, key=lambda one: one[:2])[:NUMBER_OF_WORST]

    def write_worst(self) -> None:
        """Write the worst samples seen since the last call."""
        for _, index, *pictures in self.worst:
            self._write(WORST, index, *pictures)
        self.worst = []

    def finish(self, evaluation: Evaluation) -> None:
        """Write ``evaluation.npz``, and forget the samples that are not among the worst of it."""
        ids = [self.ids[index] for index in evaluation.index.tolist()]
        confusion, counts = evaluation.confusion.numpy(), evaluation.counts.numpy()
        save_evaluation(self.folder, KeptEvaluation(confusion, counts, ids, list(self.classes)))
        order = np.argsort(evaluation.mious(), kind="stable")[:NUMBER_OF_WORST]
        worst = {path for i in order for path in sample_files(self.folder / WORST, ids[i])}
        ours = {file.name for name in self.ids for file in sample_files(Path(), name)}
        for path in (self.folder / WORST).glob("*"):
            if path.name in ours and path not in worst:
                path.unlink()

    def _write(self, kind: Path, index: int, photo: Pixels, truth: Pixels, found: Pixels) -> None:
        (self.folder / kind).mkdir(parents=True, exist_ok=True)
        paths = sample_files(self.folder / kind, self.ids[index])
        jpeg = BytesIO()  # written to a file itself, it would not say that the disk is full
        Image.fromarray(photo).save(jpeg, format="JPEG", quality=80)
        with atomic(paths[0], binary=True, durable=False) as file:
            file.write(jpeg.getvalue())
        save_class_map(truth, paths[1])
        save_class_map(found, paths[2])


class KeepEvaluation(L.Callback):
    """Keeps every validation's counts and samples in the run folder, the last one's in the end."""

    def __init__(self, keep: KeepSamples) -> None:
        self.keep = keep

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the samples of a batch; ``outputs`` are its class maps ``(B, H, W)`` uint8."""
        for place, index in enumerate(batch.position.tolist()):
            self.keep.add(index, batch.image[place], batch.class_map[place], outputs[place])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what this process has seen, and once what all of them have."""
        self.keep.write_worst()
        trainer.strategy.barrier()
        if trainer.is_global_zero and isinstance(pl_module.evaluation, Evaluation):
            self.keep.finish(pl_module.evaluation)


def _small(pixels: Pixels) -> Pixels:
    """Shrink ``(H, W)`` or ``(H, W, 3)`` until no side is longer than :data:`LONGEST`."""
    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = Image.Resampling.LANCZOS if pixels.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize(size, smooth))
