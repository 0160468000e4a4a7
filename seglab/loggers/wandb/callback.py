"""What Lightning does not log of itself: pictures with masks, results, speed, GPU memory."""

from __future__ import annotations

import re
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from seglab.data.sampling import spread
from seglab.drawing.pictures import Pixels
from seglab.loggers.wandb import media
from seglab.loggers.wandb.logger import WandbLogger
from seglab.metrics.confusion import Evaluation
from seglab.runtime.collective import gather
from seglab.schema import PicturesConfig


class WandbResults(L.Callback):
    """Logs the same fixed samples every few epochs, and tables and charts at the end.

    In every process, because each has seen a part of the samples; the logger is rank zero's.

    Args:
        logger: where the values go.
        classes: names in the order of the values.
        total: how many samples there are.
        pictures: how many of them to log, and how often.
        table_images: how many the table of results shows.
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
        self.samples: list[media.Seen] = []
        self.scores: dict[str, float] = {}
        self.evaluation: Evaluation | None = None
        self.logged = False  # whether the pictures of the last validation are

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self.images, self.start = 0, time.perf_counter()

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

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the samples of the validation before."""
        self.samples = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the chosen samples of a batch."""
        for place, index in enumerate(batch.position.tolist()):
            maps = {"truth": batch.class_map[place], "prediction": outputs[place]}
            self._keep(index, batch.ids[place], batch.image[place], maps)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the pictures if they are due, and the scores where the task has not."""
        self.samples = gathered(self.samples)
        self.scores, self.evaluation = pl_module.scores, pl_module.evaluation  # type: ignore[assignment]
        if trainer.state.fn != "fit":
            self.logger.log_metrics(self.scores)
        every = self.pictures.every_n_epochs
        due = every > 0 and (trainer.current_epoch + 1) % every == 0
        self.logged = trainer.state.fn == "fit" and due
        if self.logged and trainer.is_global_zero:
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
            self._keep(self.images, name, batch.image[place], {"prediction": outputs[place]})
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
        # Each under a name of its own: W&B shows lists of images only if they are of one size.
        return {
            "predictions/" + re.sub(r"[^\w-]+", "_", sample.id): media.masked_image(
                sample, self.classes
            )
            for sample in self.samples
            if sample.place in self.shown
        }

    def _keep(self, index: int, name: str, image: Tensor, maps: dict[str, Tensor]) -> None:
        if index in self.shown or index in self.listed:
            pixels = image.permute(1, 2, 0).cpu().numpy()
            arrays = {key: one.cpu().numpy() for key, one in maps.items()}
            self.samples.append(media.seen(index, name, pixels, arrays))


def gathered(samples: list[media.Seen]) -> list[media.Seen]:
    """Return all processes' samples in the order of the split."""
    names = [[sample.place, sample.id, [*sample.maps]] for sample in samples]
    arrays: dict[str, Pixels] = {}
    for sample in samples:
        pixels = {"image": sample.image, **sample.maps}
        arrays |= {f"{sample.place}/{name}": array for name, array in pixels.items()}
    everyone = []
    for message in gather(names, arrays):
        for place, name, kinds in message.value:
            maps = {kind: message.arrays[f"{place}/{kind}"] for kind in kinds}
            image = message.arrays[f"{place}/image"]
            everyone.append(media.Seen(place, name, image, maps))
    return sorted(everyone, key=lambda sample: sample.place)
