"""Pictures of the same validation samples, taken from the validation that runs anyway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image

from seglab.metrics import confusion_matrix, scores
from seglab.process import world_size
from seglab.tracking.pictures import panel, prediction_sheet, save_class_map


class PredictionPictures(L.Callback):
    """Writes image | truth | prediction of fixed samples to ``predictions/ID.png``.

    Args:
        folder: where the pictures go.
        classes: names in the order of the values.
        total: how many samples the split has.
        count: how many of them to show, evenly spread.
        every_n_epochs: how often; 0 means only after the last epoch.
    """

    def __init__(
        self, folder: Path, classes: tuple[str, ...], total: int, count: int, every_n_epochs: int
    ) -> None:
        self.folder, self.classes, self.every_n_epochs = folder, classes, every_n_epochs
        chosen = np.linspace(0, total - 1, min(count, total)).round().astype(int)
        self.chosen = set(chosen.tolist())
        self.written: list[Path] = []
        self.drawn: list[tuple[Path, Image.Image]] = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the chosen samples of a batch, if this is an epoch to draw."""
        if not self._due(trainer):
            return
        for position, index in enumerate(batch.position.tolist()):
            if index in self.chosen:
                self._draw(batch, outputs, position)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the first process write what all have drawn."""
        if world_size() == 1:
            return
        everybodys: list[Any] = [None] * world_size()
        torch.distributed.all_gather_object(everybodys, self.drawn)
        self.drawn = []
        for path, picture in (one for drawn in everybodys for one in drawn):
            if trainer.is_global_zero:
                self._save(path, picture)

    def _due(self, trainer: L.Trainer) -> bool:
        if trainer.state.fn != "fit":
            return True
        epoch = trainer.current_epoch + 1
        regular = self.every_n_epochs > 0 and epoch % self.every_n_epochs == 0
        return regular or epoch == trainer.max_epochs

    def _draw(self, batch: Any, prediction: Any, position: int) -> None:
        truth = batch.class_map[position].cpu()
        predicted = prediction[position].cpu()
        matrix = confusion_matrix(predicted, truth, len(self.classes))
        miou = scores(matrix, self.classes)["val/mIoU"]
        name = batch.ids[position]
        picture = panel(
            batch.image[position].permute(1, 2, 0).cpu().numpy(),
            truth.numpy(),
            predicted.numpy(),
            self.classes,
            f"{name}  ·  mIoU of this image {miou:.3f}",
        )
        path = self.folder / f"{name.replace('/', '_')}.png"
        if world_size() > 1:
            self.drawn.append((path, picture))
        else:
            self._save(path, picture)

    def _save(self, path: Path, picture: Image.Image) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        save_picture(picture, path)
        if path not in self.written:
            self.written.append(path)


class WritePredictions(L.Callback):
    """Writes every class map as ``folder/ID.png``, and an overlay as ``folder/overlays/ID.png``."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        self.folder, self.overlays, self.classes = folder, folder / "overlays", classes

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the batch's class maps ``(B, H, W)`` uint8."""
        images = batch.image.permute(0, 2, 3, 1).cpu().numpy()
        for name, image, prediction in zip(batch.ids, images, outputs.cpu().numpy(), strict=True):
            save_class_map(prediction, self.folder / f"{name}.png")
            sheet = prediction_sheet(image, prediction, self.classes, name)
            save_picture(sheet, self.overlays / f"{name}.png")


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG that appears whole or not at all."""
    making = path.with_name(f".{path.name}")
    picture.save(making, format="PNG")
    making.replace(path)
