"""Logs to W&B what Lightning does not: pictures with masks, results, speed, GPU memory."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import lightning as L
import torch

from seglab.data.sampling import spread
from seglab.loggers.wandb import media
from seglab.loggers.wandb.logger import WandbLogger
from seglab.metrics.confusion import Evaluation
from seglab.run.samples import Sample, Validated, shrink
from seglab.schema import PicturesConfig


class WandbResults(L.Callback):
    """Logs the same fixed samples every few epochs, and tables and charts at the end.

    Runs on every rank, because each has a part of the samples; only rank zero has a logger.

    Args:
        logger: receives the values.
        classes: names in the order of the values.
        total: the number of samples.
        pictures: how many samples to log, and how often.
        table_images: the number of samples in the table of results.
    """

    def __init__(
        self,
        logger: WandbLogger,
        classes: tuple[str, ...],
        total: int,
        pictures: PicturesConfig,
        table_images: int,
    ) -> None:
        self.logger, self.classes, self.pictures = logger, classes, pictures
        self.shown = spread(total, pictures.samples)
        self.listed = spread(total, table_images)
        self.places = self.shown | self.listed
        self.samples: list[Sample] = []
        self.scores: dict[str, float] = {}
        self.evaluation: Evaluation | None = None
        self.logged = False  # whether the last validation's pictures are logged

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock: Lightning starts no epoch that a run is resumed in the middle of."""
        self.images, self.start = 0, time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restart the clock."""
        self.on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Count images; after the epoch's last batch, log the speed before validation starts."""
        self.images += len(batch.ids) * trainer.world_size
        if not trainer.is_last_batch:
            return
        speed = self.images / (time.perf_counter() - self.start)
        values = {"speed/images_per_second": speed}
        if pl_module.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(pl_module.device)
            values["gpu/peak_memory_gb"] = peak / 1e9
        self.logger.log_metrics(values)

    def show(self, validated: Validated) -> None:
        """Log the pictures if due, and the scores if the task has not logged them."""
        self.samples = validated.samples
        self.scores, self.evaluation = validated.scores, validated.evaluation
        every = self.pictures.every_n_epochs
        if validated.epoch is None:
            self.logger.log_metrics(self.scores)
        self.logged = validated.epoch is not None and every > 0 and validated.epoch % every == 0
        if self.logged:
            self.logger.log_metrics(self._pictures())

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the chosen photographs of a batch; there is no truth."""
        for place, name in enumerate(batch.ids):
            if self.images in self.places:
                small = shrink(batch.image[place]), None, shrink(outputs.class_map[place])
                self.samples.append(Sample(self.images, name, math.nan, *small))
            self.images += 1

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count from the first photograph."""
        self.images = 0

    def results(self) -> dict[str, Any]:
        """Return the table of results, and after a validation the pictures and charts."""
        kept = [sample for sample in self.samples if sample.place in self.listed]
        values: dict[str, Any] = {}
        if kept:
            kind = "predict" if self.evaluation is None else "val"
            values[f"{kind}/results"] = media.results_table(kept, self.classes, self.evaluation)
        if self.evaluation is not None:
            values["val/IoU_by_class"] = media.iou_chart(self.scores, self.classes)
            values["val/confusion_matrix"] = media.confusion_chart(self.evaluation, self.classes)
            values |= {} if self.logged else self._pictures()
        return values

    def _pictures(self) -> dict[str, Any]:
        # One key per image: W&B shows a list of images only if their sizes are equal.
        return {
            "predictions/" + re.sub(r"[^\w-]+", "_", sample.id): media.masked_image(
                sample, self.classes
            )
            for sample in self.samples
            if sample.place in self.shown
        }
