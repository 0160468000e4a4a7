"""Pictures of fixed validation samples, drawn during the regular validation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import lightning as L
import numpy as np
from PIL import Image

from seglab.data.batches import Batch
from seglab.data.images import AHEAD, Images
from seglab.data.instances import find_instances
from seglab.drawing import OVERLAYS, PREDICT, PROBABILITIES
from seglab.drawing.layout import Pixels
from seglab.drawing.objects import Found, ObjectFiles, object_panel
from seglab.drawing.pictures import panel, prediction_sheet, save_class_map, viewable
from seglab.errors import RunError
from seglab.run.samples import Validated
from seglab.runtime.cores import cores
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


WAITING_BYTES = 2**28
"""How large the pixels may be of the batches that wait to be written; one may be larger."""


class WritePredictions(L.Callback):
    """Writes every class map as ``folder/ID.png``, and an overlay as ``folder/overlays/ID.png``.

    Objects and probabilities, if the task gives them, are written too; see
    :class:`~seglab.drawing.objects.ObjectFiles` and :meth:`write`. A few batches wait and are then
    written together, on all cores, while the net waits: written while it computes, they would take
    the cores that its threads wait for, and slow it down by more than they take. Used as a context,
    which ends the threads.

    Args:
        folder: of the class maps.
        classes: their names, in the order of the values.
        overlays: whether to draw overlays.

    Attributes:
        unreadable: the problem of each file that could not be decoded.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...], overlays: bool = True) -> None:
        self.folder, self.classes = folder, classes
        self.overlays = folder / OVERLAYS if overlays else None
        self.objects = ObjectFiles(folder, classes)
        self.unreadable: list[str] = []
        self.pool = ThreadPoolExecutor(cores())
        self.waiting: list[tuple[Images, Output]] = []

    def __enter__(self) -> Self:
        """Make the folders.

        Raises:
            RunError: they cannot be written.
        """
        try:
            (self.overlays or self.folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"output={self.folder}: cannot be written: {error.strerror}") from None
        return self

    def __exit__(self, *exception: object) -> None:
        """End the threads; after an error, without the batches that wait."""
        self.pool.shutdown(cancel_futures=True)

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take a batch's predictions, write those that wait if enough do, record unreadable files.

        Raises:
            OSError: a file could not be written; names it.
        """
        self.unreadable += batch.unreadable
        self.waiting.append((batch, outputs))
        size = sum(_bytes(*one) for one in self.waiting)
        if len(self.waiting) >= AHEAD or size > WAITING_BYTES:
            self._write_waiting()

    def _write_waiting(self) -> None:
        for found in self.pool.map(self.write, *zip(*self.waiting, strict=True)):
            for objects in found:
                self.objects.add(objects)
        self.waiting.clear()

    def write(self, batch: Images, outputs: Output) -> list[Found]:
        """Write the class maps ``(B, H, W)`` uint8 of a batch, and all else that is asked for.

        ``probabilities/ID.npz`` has one array of that name, ``(K, H, W)`` float16.

        Returns:
            The objects of each image; none if the task has no objects.
        """
        found = []
        images = viewable(batch.image.permute(0, 2, 3, 1).cpu().numpy())
        for index, (name, prediction) in enumerate(zip(batch.ids, outputs.class_map, strict=True)):
            class_map = prediction.cpu().numpy()
            if outputs.sure is not None and outputs.objects is not None:
                sure = outputs.sure[index]
                file = batch.files[index]
                found.append(self.objects.draw(name, file, outputs.objects[index], sure))
            # Before the class map: a file without an overlay is not ours and is not overwritten.
            if self.overlays is not None:
                sheet = self._sheet(images[index], class_map, outputs, index, name)
                save_picture(sheet, self.overlays / f"{name}.png")
            if outputs.probabilities is not None:
                save_probabilities(outputs.probabilities[index].cpu().numpy(), self.folder, name)
            save_class_map(class_map, self.folder / f"{name}.png", PREDICT)
        return found

    def _sheet(
        self, image: Pixels, class_map: Pixels, outputs: Output, index: int, name: str
    ) -> Image.Image:
        if outputs.sure is None:
            return prediction_sheet(image, class_map, self.classes, name)
        return object_panel(image, None, outputs.sure[index], self.classes, name)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait for what is still written, and write the objects of all photographs."""
        if self.waiting:
            self._write_waiting()
        if self.objects.images:
            self.objects.write()


def _bytes(batch: Images, outputs: Output) -> int:
    """Return how many bytes the pixels of a batch and its predictions are."""
    masks = [found.masks for found in (*(outputs.objects or ()), *(outputs.sure or ()))]
    soft = outputs.probabilities or ()
    return sum(one.nbytes for one in (batch.image, outputs.class_map, *masks, *soft))


def save_probabilities(probabilities: Pixels, folder: Path, name: str) -> None:
    """Write ``folder/probabilities/NAME.npz`` atomically."""
    (folder / PROBABILITIES).mkdir(exist_ok=True)
    with atomic(folder / PROBABILITIES / f"{name}.npz", binary=True, durable=False) as file:
        np.savez_compressed(file, probabilities=probabilities)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG atomically."""
    with atomic(path, binary=True, durable=False) as file:
        # A photograph barely compresses: level 6, the default, saves 4 % in 2.6 times the time.
        picture.save(file, format="PNG", compress_level=1)
