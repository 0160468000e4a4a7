"""A split as samples: image, class map, instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pkgutil import resolve_name

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from seglab.data.files import Box
from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.layouts.coco import CocoFiles
from seglab.data.layouts.opening import Opener, open_as
from seglab.data.layouts.own import OwnFiles
from seglab.data.layouts.pairs import PairFiles
from seglab.data.layouts.voc import FolderFiles
from seglab.data.prefetch import Progress, no_progress
from seglab.schema import DataConfig


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and its truth.

    Attributes:
        id: the name in the list, the stem of the file names.
        image: ``(C, H, W)`` uint8, RGB unless ``data.channels`` is not 3, at the image's original
            size. Read-only: it may be a view of memory-mapped pixels.
        class_map: ``(H, W)`` uint8, class indices ``0..K-1`` and 255 for void.
        instance_map: ``(H, W)`` uint8, instance ids from 1, 0 for background, 255 for void; None
            unless the data set was opened with ``instances=True``.
        boxes: the annotated objects; empty unless opened with ``instances=True``.
        classes: their names, in the order of the values.

    It unpacks into image and class map: ``image, maps = data[3]``. Notebooks display it.
    """

    id: str
    image: Tensor
    class_map: Tensor
    instance_map: Tensor | None = None
    boxes: tuple[Box, ...] = ()
    classes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.image, self.class_map))

    def __repr__(self) -> str:
        return f"Sample(id={self.id!r}, image={tuple(self.image.shape)})"

    def show(self, title: str = "") -> Image.Image:
        """Draw the image with its boxes, the class map, the instances if read, and a legend."""
        # Imported by name: the drawing package is in a higher layer.
        picture: Image.Image = resolve_name("seglab.drawing.pictures:draw_sample")(self, title)
        return picture

    def _repr_png_(self) -> bytes:
        """Return the picture for IPython's display protocol."""
        self.show(self.id).save(file := BytesIO(), format="PNG")
        return file.getvalue()

    @property
    def size(self) -> tuple[int, int]:
        """The image's original height and width, in pixels."""
        return self.image.shape[-2], self.image.shape[-1]


class Samples(SplitFiles, Dataset[Sample]):
    """A split as a torch data set."""

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        """Decode and check one sample.

        Raises:
            DataError: names the file that cannot be read or does not fit, and why.
            IndexError: there are fewer samples.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}, which are 0 to {len(self) - 1}")
        return self.sample(index, self.read(index))

    def sample(self, index: int, pixels: Pixels) -> Sample:
        """Return sample ``index`` with the given decoded pixels."""
        instances = pixels.instance_map
        return Sample(
            self.ids[index],
            torch.from_numpy(np.require(pixels.image, requirements="W")).permute(2, 0, 1),
            torch.from_numpy(pixels.class_map),
            None if instances is None else torch.from_numpy(instances),
            self.boxes(index) if self.instances else (),
            self.classes,
        )


class VOCSegmentation(FolderFiles, Samples):
    """The segmentation part of a VOC year, or your own data set in the same layout.

    Arguments and errors are those of :class:`~seglab.data.layouts.voc.FolderFiles`.
    """


class PairSamples(PairFiles, Samples):
    """Images and masks of the same name, in two folders."""


class CocoSamples(CocoFiles, Samples):
    """Images listed by a JSON file in COCO's format."""


class OwnSamples(OwnFiles, Samples):
    """Samples of a class of the user's own."""


DATASETS: Mapping[str, Opener[Samples]] = {
    "folder": VOCSegmentation.configured,
    "pairs": PairSamples,
    "coco": CocoSamples,
    "dataset": OwnSamples,
}
"""The layouts that ``data.layout`` names."""


def open_dataset(
    config: DataConfig, split: str, *, instances: bool = False, progress: Progress = no_progress
) -> Samples:
    """Open a split of the configured data set; the built-in one is made on first use.

    Raises:
        ConfigError, DataError: the data set cannot be used; names the key or file.
    """
    return open_as(DATASETS, config, split, instances, progress=progress)
