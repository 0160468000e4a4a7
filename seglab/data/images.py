"""Photographs without any truth: what a trained model is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from seglab.data.files import image_size, read_image
from seglab.data.sampling import evaluation_batches
from seglab.errors import ConfigError, DataError

SUFFIXES = (".jpg", ".jpeg", ".png")


class Images(NamedTuple):
    """A batch of photographs.

    Attributes:
        image: ``(B, 3, H, W)`` uint8 RGB.
        ids: the files' names without suffix.
    """

    image: Tensor
    ids: list[str]


class ImageBatches(Dataset[Images]):
    """Batches of equal-sized photographs, as an evaluation forms them, decoded when asked for.

    Args:
        paths: the files.
        batch_size: at most as many images.

    Raises:
        DataError: a file that is no picture; found from the headers, before the first batch.
    """

    def __init__(self, paths: Sequence[Path], batch_size: int) -> None:
        batches = evaluation_batches([image_size(path) for path in paths], batch_size)
        self.batches = [[paths[index] for index in batch] for batch in batches]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Images:
        paths = self.batches[index]
        pixels = torch.stack([torch.from_numpy(read_image(path)) for path in paths])
        # Rows of pixels with their colours together, seen as (B, 3, H, W), are channels_last.
        return Images(pixels.permute(0, 3, 1, 2), [path.stem for path in paths])


def find_images(source: Path) -> list[Path]:
    """Return the images that ``source`` names: one file, or those of a folder by name.

    Raises:
        ConfigError: no such file or folder.
        DataError: a folder without images, or with two of one name.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ConfigError(f"input={source}: no such file or folder")
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"input={source}: holds no images ({', '.join(SUFFIXES)})")
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(path.stem, path)
        if other is not path:
            raise DataError(
                f"input={source}: {other.name} and {path.name} would both be named "
                f"{path.stem}.png; rename one"
            )
    return paths
