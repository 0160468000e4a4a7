"""Photographs without any truth: what a trained model is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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


class ImageFiles(Dataset[tuple[str, Tensor]]):
    """Photographs from files, decoded when they are asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, Tensor]:
        path = self.paths[index]
        return path.stem, torch.from_numpy(read_image(path))

    def dataloader(self, batch_size: int, num_workers: int = 0) -> DataLoader[tuple[str, Tensor]]:
        """Return batches of equal-sized images, as an evaluation forms them.

        Raises:
            DataError: a file that is no picture; found from the headers, before the first batch.
        """
        sizes = [image_size(path) for path in self.paths]
        return DataLoader(
            self,
            batch_sampler=evaluation_batches(sizes, batch_size),
            collate_fn=collate_images,
            num_workers=num_workers,
        )


def collate_images(samples: Sequence[tuple[str, Tensor]]) -> Images:
    """Stack equal-sized ``(id, (H, W, 3) uint8)``, so that the batch is channels_last."""
    ids, pixels = zip(*samples, strict=True)
    return Images(torch.stack(pixels).permute(0, 3, 1, 2), list(ids))


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
