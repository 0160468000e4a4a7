"""Pictures of fixed validation samples, drawn during the regular validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from PIL import Image

from seglab.data.datamodule import Batch
from seglab.data.instances import find_instances
from seglab.drawing import OVERLAYS
from seglab.drawing.layout import Pixels
from seglab.drawing.objects import ObjectFiles, object_panel
from seglab.drawing.pictures import panel, prediction_sheet, save_class_map, viewable
from seglab.errors import RunError
from seglab.run.samples import Validated
from seglab.runtime.files import atomic
from seglab.tasks.base import Output


class PredictionPictures:
    """Writes image | truth | prediction of fixed samples to ``predictions/ID.png``.

    Objects, if the task finds them, are each drawn in their own colour.

    Args:
        folder: for the pictures.
        classes: their names, in the order of the values.
        places: indices in the split of the samples to show.
        every_n_epochs: the interval; 0 means only after the last epoch.
    """

    def __init__(
        self, folder: Path, classes: tuple[str, ...], places: set[int], every_n_epochs: int
    ) -> None:
        self.folder, self.classes, self.every_n_epochs = folder, classes, every_n_epochs
        self.places = places
        self.written: list[Path] = []

    def draw(
        self, trainer: L.Trainer, batch: Batch, output: Output, position: int, miou: float
    ) -> Pixels | None:
        """Draw a sample of a batch, if it is selected and due in this epoch."""
        if int(batch.position[position]) not in self.places or not self._due(trainer):
            return None
        truth = batch.class_map[position].cpu()
        image = viewable(batch.image[position].permute(1, 2, 0).cpu().numpy())
        title = f"{batch.ids[position]}  ·  mIoU of this image {miou:.3f}"
        if output.sure is not None and batch.instance_map is not None:
            true = find_instances(truth, batch.instance_map[position].cpu())
            picture = object_panel(image, true, output.sure[position], self.classes, title)
        else:
            predicted = output.class_map[position].cpu().numpy()
            picture = panel(image, truth.numpy(), predicted, self.classes, title)
        return np.asarray(picture)

    def show(self, validated: Validated) -> None:
        """Write the drawn pictures."""
        for sample in validated.samples:
            if sample.panel is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                path = self.folder / f"{sample.id.replace('/', '_')}.png"
                save_picture(Image.fromarray(sample.panel), path)
                if path not in self.written:
                    self.written.append(path)

    def _due(self, trainer: L.Trainer) -> bool:
        if trainer.state.fn != "fit":
            return True
        epoch = trainer.current_epoch + 1
        regular = self.every_n_epochs > 0 and epoch % self.every_n_epochs == 0
        return regular or epoch == trainer.max_epochs


class WritePredictions(L.Callback):
    """Writes every class map as ``folder/ID.png``, and an overlay as ``folder/overlays/ID.png``.

    Objects, if the task finds them, are written too; see
    :class:`~seglab.drawing.objects.ObjectFiles`.

    Attributes:
        unreadable: the problem of each file that could not be decoded.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        self.folder, self.overlays, self.classes = folder, folder / OVERLAYS, classes
        self.objects = ObjectFiles(folder, classes)
        self.unreadable: list[str] = []

    def make_folders(self) -> None:
        """Make the folders.

        Raises:
            RunError: they cannot be written.
        """
        try:
            self.overlays.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"output={self.folder}: cannot be written: {error.strerror}") from None

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the batch's class maps ``(B, H, W)`` uint8, and record unreadable files."""
        self.unreadable += batch.unreadable
        images = viewable(batch.image.permute(0, 2, 3, 1).cpu().numpy())
        sure = outputs.sure
        for index, (name, prediction) in enumerate(zip(batch.ids, outputs.class_map, strict=True)):
            class_map = prediction.cpu().numpy()
            if sure is None:
                sheet = prediction_sheet(images[index], class_map, self.classes, name)
            else:
                sheet = object_panel(images[index], None, sure[index], self.classes, name)
                self.objects.add(name, outputs.objects[index], sure[index])
            # Before the class map: a file without an overlay is not ours and is not overwritten.
            save_picture(sheet, self.overlays / f"{name}.png")
            save_class_map(class_map, self.folder / f"{name}.png")

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the objects of all photographs."""
        if self.objects.images:
            self.objects.write()


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG atomically."""
    with atomic(path, binary=True, durable=False) as file:
        picture.save(file, format="PNG")
