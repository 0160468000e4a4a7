"""The Python API: :func:`fit` trains a model, :func:`load` loads one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from seglab.commands.tables import show_metrics, show_paths
from seglab.config.compose import compose
from seglab.config.stored import override_stored
from seglab.data.files import read_image
from seglab.data.instances import Detections
from seglab.data.pixels import RGB, PixelFormat, to_pixels
from seglab.drawing.pictures import overlay, viewable
from seglab.export.reading import received_model
from seglab.printing import print_plain
from seglab.run.checkpoints import origin
from seglab.run.identity import checkpoint_code_change
from seglab.run.resume import check_run
from seglab.schema import TrainConfig
from seglab.session import Session
from seglab.sweep.start import JobResult, start_job
from seglab.tasks.base import Output, Task
from seglab.tasks.precision import precision_plugin

Picture = Tensor | np.ndarray | Image.Image | str | Path
"""An image as :class:`Predictor` takes it."""


class Predictor:
    """A trained task in evaluation mode, in the precision of its training.

    Attributes:
        task: the task, which takes plain uint8; on the CPU until it is moved.
        classes: the class names, in the order of the values.
        pixel_format: what files and Pillow images are read as.
    """

    def __init__(
        self, task: Task, precision: str = "32-true", pixel_format: PixelFormat = RGB
    ) -> None:
        self.precision, self.pixel_format = precision, pixel_format
        if not precision.endswith("-mixed"):  # whose weights are float32
            task = precision_plugin(precision, "cpu").convert_module(task)  # type: ignore[assignment]
        self.task: Task = task.eval()
        self.classes = task.classes

    @torch.inference_mode()
    def predict(self, image: Picture) -> Tensor:
        """Return the class map of one image, as ``seglab predict`` writes it.

        Args:
            image: ``(C, H, W)`` uint8 tensor, ``(H, W, C)`` uint8 array, a Pillow image or a file,
                of any size; C is ``data.channels``.

        Returns:
            ``(H, W)`` uint8 on the CPU, class indices.

        Raises:
            ValueError: an array or tensor of the wrong shape or dtype.
            DataError: a file that cannot be decoded, or a Pillow image with a different number of
                channels.
        """
        return self._answer(image).class_map[0].cpu()

    def overlay(self, image: Picture) -> Image.Image:
        """Return the image overlaid with its predicted class map, at the size of the image.

        Args:
            image: as :meth:`predict` takes it.

        Raises:
            ValueError, DataError: as :meth:`predict`.
        """
        pixels = self._pixels(image)
        class_map = self.predict(pixels).numpy()
        return overlay(viewable(pixels.permute(1, 2, 0).cpu().numpy()), class_map)

    @torch.inference_mode()
    def detect(self, image: Picture) -> Detections:
        """Return the objects of one image, on the device of the task.

        Args:
            image: as :meth:`predict` takes it.

        Raises:
            ValueError: as :meth:`predict`; the model finds no objects.
            DataError: a file that cannot be decoded.
        """
        objects = self._answer(image).objects
        if objects is None:
            raise ValueError("the model predicts class maps, not objects")
        return objects[0]

    def _pixels(self, image: Picture) -> Tensor:
        if isinstance(image, str | Path):
            image = read_image(Path(image), self.pixel_format)
        if isinstance(image, Image.Image):
            image = to_pixels(image, "image", self.pixel_format)
        channels, axis = self.pixel_format.channels, -1 if isinstance(image, np.ndarray) else 0
        shape, uint8 = tuple(image.shape), str(image.dtype).endswith("uint8")
        if len(shape) != 3 or 0 in shape or shape[axis] != channels or not uint8:
            raise ValueError(
                f"image is {shape} {image.dtype}; must be uint8, a tensor ({channels}, H, W) or an "
                f"array (H, W, {channels})"
            )
        if isinstance(image, np.ndarray):
            image = torch.from_numpy(np.require(image, requirements=["C", "W"])).movedim(-1, 0)
        return image

    def _answer(self, image: Picture) -> Output:
        pixels, device = self._pixels(image), self.task.device
        with precision_plugin(self.precision, device.type).forward_context():
            return self.task.predict(pixels[None].to(device))


def load(checkpoint: str | Path, *overrides: str, trust: bool = False) -> Predictor:
    """Load a checkpoint that ``seglab train`` wrote, or a file of ``seglab export``.

    Args:
        checkpoint: the file.
        overrides: of its settings, as ``seglab predict`` takes them: ``evaluation.tile=512``.
        trust: whether its configuration may build any target, or a ``.pt2`` file be opened; either
            can run any code.

    Raises:
        RunError: no such file, damaged, holding code, or not written by seglab.
        ConfigError: its configuration is wrong, or needs ``trust=True``.
    """
    path = Path(checkpoint)
    content, stored = received_model(path, trust, overrides)
    session = Session(override_stored(stored, overrides), "predict", path.parent)
    for line in checkpoint_code_change(session.config, origin(content, path)["data"], path):
        warnings.warn(line, stacklevel=2)
    pixel_format = PixelFormat.configured(session.config.data)
    return Predictor(
        session.load(content, path).task, session.config.trainer.precision, pixel_format
    )


def fit(*overrides: str, quiet: bool = False) -> JobResult:
    """Train as ``seglab train`` does: ``fit("experiments=smoke", "seed=1")``.

    Args:
        overrides: as on the command line.
        quiet: show neither progress nor metrics.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    composed = compose("train", TrainConfig, overrides)
    start = check_run(composed.config, composed.folder)
    console = Console(quiet=quiet)
    for line in start.changes:
        print_plain(line, console)
    result = start_job(start, composed.overrides, quiet=quiet)
    show_metrics(result.metrics, console)
    show_paths(result.folder, result.pictures, console)
    return result
