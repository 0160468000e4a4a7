"""Transforms as a user writes them."""

from __future__ import annotations

import random

from torch import Tensor
from torch.utils.data import get_worker_info


class Jitter:
    """Shifts the brightness of the image by a random amount of Python's generator."""

    def __call__(self, image: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        return (image.float() + random.uniform(-40, 40)).clamp(0, 255).byte(), maps


class Wrong:
    """Crops the image alone."""

    def __call__(self, image: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        return image[:, :3, :3], maps


class WrongInAWorker(Wrong):
    """Does so in a loading process only: the check before a training does not see it."""

    def __call__(self, image: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        return super().__call__(image, maps) if get_worker_info() else (image, maps)
