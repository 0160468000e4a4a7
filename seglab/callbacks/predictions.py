"""Pictures of the same validation samples, taken from the validation that runs anyway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from PIL import Image

from seglab.data.instances import Detections, find_instances
from seglab.data.sampling import spread
from seglab.drawing.objects import ObjectFiles, object_panel
from seglab.drawing.pictures import panel, prediction_sheet, save_class_map
from seglab.errors import RunError
from seglab.metrics.confusion import confusion_matrix, scores
from seglab.runtime.collective import gather
from seglab.runtime.files import atomic
from seglab.runtime.process import world_size


class PredictionPictures(L.Callback):
    """Writes image | truth | prediction of fixed samples to ``predictions/ID.png``.

    Where the task finds objects they are shown, each in a colour of its own.

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
        self.chosen = spread(total, count)
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
                found = sure_objects(pl_module)
                self._draw(batch, outputs, position, found[position] if found else None)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the first process write what all have drawn."""
        if world_size() == 1:
            return
        messages = gather(None, {path.name: np.asarray(picture) for path, picture in self.drawn})
        self.drawn = []
        if trainer.is_global_zero:
            for message in messages:
                for name, pixels in message.arrays.items():
                    self._save(self.folder / name, Image.fromarray(pixels))

    def _due(self, trainer: L.Trainer) -> bool:
        if trainer.state.fn != "fit":
            return True
        epoch = trainer.current_epoch + 1
        regular = self.every_n_epochs > 0 and epoch % self.every_n_epochs == 0
        return regular or epoch == trainer.max_epochs

    def _draw(self, batch: Any, prediction: Any, position: int, found: Detections | None) -> None:
        truth = batch.class_map[position].cpu()
        predicted = prediction[position].cpu()
        matrix = confusion_matrix(predicted, truth, len(self.classes))
        miou = scores(matrix, self.classes)["val/mIoU"]
        name = batch.ids[position]
        image = batch.image[position].permute(1, 2, 0).cpu().numpy()
        title = f"{name}  ·  mIoU of this image {miou:.3f}"
        if found is not None:
            true = find_instances(truth, batch.instance_map[position].cpu())
            picture = object_panel(image, true, found, self.classes, title)
        else:
            picture = panel(image, truth.numpy(), predicted.numpy(), self.classes, title)
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
    """Writes every class map as ``folder/ID.png``, and an overlay as ``folder/overlays/ID.png``.

    Where the task finds objects, they are written too; see
    :class:`~seglab.drawing.objects.ObjectFiles`.

    Attributes:
        unreadable: what is wrong with each file that could not be decoded.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        self.folder, self.overlays, self.classes = folder, folder / "overlays", classes
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
        """Write the batch's class maps ``(B, H, W)`` uint8, and note what had none."""
        self.unreadable += batch.unreadable
        images = batch.image.permute(0, 2, 3, 1).cpu().numpy()
        sure = sure_objects(pl_module)
        for place, (name, prediction) in enumerate(zip(batch.ids, outputs, strict=True)):
            class_map = prediction.cpu().numpy()
            save_class_map(class_map, self.folder / f"{name}.png")
            if sure is None:
                sheet = prediction_sheet(images[place], class_map, self.classes, name)
            else:
                sheet = object_panel(images[place], None, sure[place], self.classes, name)
                self.objects.add(name, pl_module.detections[place], sure[place])  # type: ignore
            save_picture(sheet, self.overlays / f"{name}.png")

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the objects of all photographs."""
        if sure_objects(pl_module) is not None:
            self.objects.write()


def sure_objects(task: Any) -> list[Detections] | None:
    """Return the objects of the last batch that are painted; None where a task finds none."""
    if task.detections is None:
        return None
    threshold = task.config.evaluation.score_threshold
    return [one.above(threshold) for one in task.detections]


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG that appears whole or not at all."""
    with atomic(path, binary=True, durable=False) as file:
        picture.save(file, format="PNG")
