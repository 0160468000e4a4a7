"""Photographs without truth, for prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seglab.data.files import all_formats, all_suffixes, image_size, read_image
from seglab.data.pixels import RGB, PixelFormat
from seglab.data.sampling import evaluation_batches
from seglab.errors import ConfigError, DataError
from seglab.runtime.cores import cores

AHEAD = 16
"""How many batches are decoded, or written, together."""

AHEAD_BYTES = 2**28
"""How large their pixels may be; those of one may be larger."""


class Images(NamedTuple):
    """A batch of photographs.

    Attributes:
        image: ``(B, C, H, W)`` uint8; B is 0 if none could be decoded.
        ids: the files' names without suffix.
        files: their names.
        unreadable: the problem of each file of the batch that could not be decoded.
    """

    image: Tensor
    ids: list[str]
    files: list[str]
    unreadable: list[str]


class ImageBatches(Dataset[Images]):
    """Batches of equal-sized photographs, formed as in evaluation and decoded lazily.

    Args:
        paths: the files.
        batch_size: the largest number of images.
        pixel_format: the pixel format.

    Attributes:
        readable: the number of files with a readable header; the others are in no batch.
        unreadable: the problem of each other file.
    """

    def __init__(
        self, paths: Sequence[Path], batch_size: int, pixel_format: PixelFormat = RGB
    ) -> None:
        self.pixel_format = pixel_format
        sizes: dict[Path, tuple[int, int]] = {}
        self.unreadable: list[str] = []
        for path in paths:
            try:
                sizes[path] = image_size(path, all_formats())
            except DataError as error:
                self.unreadable.append(str(error))
        self.readable, self.sizes = len(sizes), sizes
        batches = evaluation_batches([*sizes.values()], batch_size)
        names = [*sizes]
        self.batches = [[names[index] for index in batch] for batch in batches]

    def __len__(self) -> int:
        return len(self.batches)

    def bytes_of(self, index: int) -> int:
        """Return how many bytes the pixels of a batch are."""
        paths = self.batches[index]
        height, width = self.sizes[paths[0]]
        return len(paths) * height * width * self.pixel_format.channels

    def __getitem__(self, index: int) -> Images:
        paths = self.batches[index]
        images: dict[Path, npt.NDArray[np.uint8]] = {}
        unreadable = []
        for path in paths:
            try:
                images[path] = read_image(path, self.pixel_format)
            except DataError as error:
                unreadable.append(str(error))
        shape = (*self.sizes[paths[0]], self.pixel_format.channels)
        # By numpy: torch would start threads of its own in each thread that decodes, which then
        # take the cores from the net.
        pixels = np.stack([*images.values()]) if images else np.empty((0, *shape), np.uint8)
        # (B, H, W, C) pixels viewed as (B, C, H, W) are channels_last.
        ids, names = [path.stem for path in images], [path.name for path in images]
        return Images(torch.from_numpy(pixels).permute(0, 3, 1, 2), ids, names, unreadable)


class ImagesAhead:
    """The batches of photographs in order, a few at a time decoded by all cores.

    They are decoded while the net waits: decoding beside it would slow it down by more than it
    takes, as its threads wait for each other.
    """

    def __init__(self, batches: ImageBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Images]:
        with ThreadPoolExecutor(cores()) as pool:
            ahead: list[int] = []
            size = 0
            for index in range(len(self.batches)):
                more = self.batches.bytes_of(index)
                if ahead and (len(ahead) == AHEAD or size + more > AHEAD_BYTES):
                    yield from pool.map(self.batches.__getitem__, ahead)
                    ahead, size = [], 0
                ahead.append(index)
                size += more
            yield from pool.map(self.batches.__getitem__, ahead)


def find_images(source: Path) -> list[Path]:
    """Return the images at ``source``: one file, or those of a folder sorted by name.

    Raises:
        ConfigError: no such file or folder.
        DataError: a folder without images, or with two of the same name.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ConfigError(f"input={source}: no such file or folder")
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() in all_suffixes())
    if not paths:
        raise DataError(f"input={source}: holds no images")
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(path.stem, path)
        if other is not path:
            raise DataError(
                f"input={source}: {other.name} and {path.name} would both be named "
                f"{path.stem}.png; rename one"
            )
    return paths
