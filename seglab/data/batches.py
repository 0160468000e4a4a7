"""Samples to batches: what a DataLoader yields, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from seglab.data.dataset import Sample, Samples
from seglab.data.store.cached import Cached
from seglab.data.transforms import Augmentation, generator, place


class Batch(NamedTuple):
    """A batch as a task receives it.

    Attributes:
        image: ``(B, C, H, W)`` uint8, RGB unless ``data.channels`` is not 3.
        class_map: ``(B, H, W)`` uint8, void 255.
        position: ``(B,)`` int64, the index of each sample in its split.
        ids: the samples' ids.
        instance_map: ``(B, H, W)`` uint8, ids from 1, void 255; None unless the task needs it.
    """

    image: Tensor
    class_map: Tensor
    position: Tensor
    ids: list[str]
    instance_map: Tensor | None = None


Item = tuple[int, str, Tensor, Tensor]
"""Index, id, image ``(C, H, W)``, and maps ``(1, H, W)``, or ``(2, H, W)`` with the instances."""


def collate(samples: Sequence[Item], fill: Sequence[int] | None = None) -> Batch:
    """Stack samples to a batch; no samples give an empty batch.

    Samples of different sizes are padded at the right and below; ``fill`` is as in
    :func:`~seglab.data.transforms.place`.
    """
    if not samples:
        nothing = torch.empty(0, dtype=torch.uint8)
        return Batch(nothing, nothing, nothing, [])
    indices, ids, images, maps = zip(*samples, strict=True)
    height, width = (max(one.shape[axis] for one in maps) for axis in (-2, -1))
    placed = [
        place(image, one, (height, width), fill=fill)
        for image, one in zip(images, maps, strict=True)
    ]
    images, maps = zip(*placed, strict=True)
    # Decoded pixels are (H, W, C): stacking them so moves no byte, and
    # the batch is channels_last, which convolutions on a CPU want.
    image = torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
    class_map, *instance_map = torch.stack(maps, 1)
    return Batch(image, class_map, torch.tensor(indices), list(ids), *instance_map)


def maps_of(sample: Sample) -> Tensor:
    """Return the class map, and the instance map if there is one: ``(1 or 2, H, W)`` uint8."""
    if sample.instance_map is None:
        return sample.class_map[None]
    return torch.stack([sample.class_map, sample.instance_map])


class TrainSet(Dataset[Item]):
    """Augmented samples, addressed by (epoch, index) so that no worker needs any state."""

    def __init__(self, samples: Samples | Cached, augmentation: Augmentation, seed: int) -> None:
        self.samples, self.augmentation, self.seed = samples, augmentation, seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        sample = self.samples[index]
        rng = generator(self.seed, epoch, sample.id)
        return index, sample.id, *self.augmentation(sample.image, maps_of(sample), rng, sample.id)


class EvalSet(Dataset[Item]):
    """Samples as they are, at their original size."""

    def __init__(self, samples: Samples | Cached) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.samples[index]
        return index, sample.id, sample.image, maps_of(sample)
