"""The record of a validation that pictures, kept samples and W&B share.

Each image is scored from the metric's own counts and shrunk once. The shown samples are gathered
once over the processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import lightning as L

from seglab.data.batches import Batch
from seglab.drawing.layout import Pixels
from seglab.metrics.counts import miou
from seglab.run.samples import Sample, SampleCollector, Validated, worst_of
from seglab.runtime.collective import gather
from seglab.runtime.files import nan_to_null, null_to_nan
from seglab.tasks.base import Output, Task


class Viewer(Protocol):
    """Shows a validation; called on rank zero only."""

    def show(self, validated: Validated) -> None:
        """Show a completed validation."""


class ValidationRecord(L.Callback):
    """Collects the shown samples of a validation and passes them to the viewers.

    Args:
        task: the validated task.
        shown: indices in the split of the samples to keep.
        number_of_worst: how many images with the lowest mIoU to keep too.
        draw: draws an image at its own size, or returns None if no picture of it is due.
        viewers: receive the record.
    """

    def __init__(
        self,
        task: Task,
        shown: set[int],
        number_of_worst: int,
        draw: Callable[[L.Trainer, Batch, Output, int, float], Pixels | None],
        viewers: Sequence[Viewer],
    ) -> None:
        self.task, self.draw, self.viewers = task, draw, viewers
        self.shown, self.number_of_worst = shown, number_of_worst
        self.collected = SampleCollector(shown, number_of_worst)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the shown samples of a batch."""
        if outputs.counts is None:  # a process without an image
            return
        scores = miou(outputs.counts.cpu().numpy()).tolist()
        for position, (place, score) in enumerate(
            zip(batch.position.tolist(), scores, strict=True)
        ):
            maps = batch.class_map[position], outputs.class_map[position]
            draw = partial(self.draw, trainer, batch, outputs, position, score)
            name, image = batch.ids[position], batch.image[position]
            self.collected.offer(place, name, score, (image, *maps), draw)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather the kept samples of all processes, and show them."""
        samples = _gathered(list(self.collected.samples.values()))
        self.collected = SampleCollector(self.shown, self.number_of_worst)  # frees their memory
        evaluation = self.task.evaluation
        if not trainer.is_global_zero or evaluation is None:
            return
        worst = worst_of(evaluation, self.number_of_worst)
        epoch = trainer.current_epoch + 1 if trainer.state.fn == "fit" else None
        validated = Validated(samples, worst, evaluation, self.task.scores, epoch)
        for viewer in self.viewers:
            viewer.show(validated)


_PIXELS = ("image", "truth", "prediction", "panel")


def _gathered(samples: Sequence[Sample]) -> list[Sample]:
    """Return all processes' samples in the order of the split."""
    facts = nan_to_null([[sample.place, sample.id, sample.miou] for sample in samples])
    arrays: dict[str, Pixels] = {}
    for sample in samples:
        for name in _PIXELS:
            if (pixels := getattr(sample, name)) is not None:
                arrays[f"{sample.place}/{name}"] = pixels
    gathered = []
    for message in gather(facts, arrays):
        for place, name, score in message.value:
            images = {kind: message.arrays.get(f"{place}/{kind}") for kind in _PIXELS}
            gathered.append(Sample(place, name, null_to_nan(score), **images))  # type: ignore[arg-type]
    return sorted(gathered, key=lambda sample: sample.place)
