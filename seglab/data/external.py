"""Transforms of other libraries, and your own, as augmentation.

They draw from the global random state of torch, numpy and Python. For each sample that state is
seeded from (seed, epoch, sample id), and restored afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from seglab.data.classes import VOID
from seglab.data.transforms import FILL, pad, scale_and_crop
from seglab.errors import ConfigError, one_line

Transform = Callable[[tv_tensors.Image, tv_tensors.Mask], tuple[Tensor, Tensor]]
"""Takes an image ``(C, H, W)`` and maps ``(N, H, W)``, both uint8, as torchvision's v2 does, and
returns both of another size at most: the class map, and the instance map if there is one."""


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's CPU generator, numpy and Python from a stream, and restore them afterwards."""
    seed = int(rng.integers(2**32))
    of_numpy, of_python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds GPUs too
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)


class ExternalTransform:
    """A transform as seglab's augmentation; see :class:`seglab.data.transforms.Augmentation`.

    A random square of its result is cut out, padded where the result is smaller.

    Args:
        transform: see :data:`Transform`.
        crop_size: side of the square, in pixels; None: the whole result.
        fill: the colour of the padding; see :func:`seglab.data.transforms.pad`.

    Raises:
        ConfigError: the transform would fill class maps with a class.
    """

    def __init__(
        self, transform: Transform, crop_size: int | None, fill: Sequence[int] | None = None
    ) -> None:
        check_fill(transform)
        self.transform, self.crop_size, self.fill = transform, crop_size, fill

    def __call__(
        self, image: Tensor, maps: Tensor, rng: np.random.Generator, sample_id: str
    ) -> tuple[Tensor, Tensor]:
        """Return both augmented.

        Raises:
            ConfigError: the transform fails, or does not return an image and its maps; names the
                sample.
        """
        # Copies: the input may be a view of memory-mapped pixels.
        tv_image = tv_tensors.Image(image.clone(memory_format=torch.contiguous_format))
        try:
            with seeded(rng):
                result = self.transform(tv_image, tv_tensors.Mask(maps.clone()))
        except Exception as error:
            text = f"transforms: sample {sample_id}: {type(error).__name__}: {one_line(error)}"
            raise ConfigError(text) from error
        if (problem := _problem(result, image, maps)) is not None:
            raise ConfigError(f"transforms: sample {sample_id}: {problem}")
        image, maps = (part.as_subclass(Tensor) for part in result)
        image, maps = scale_and_crop(image, maps, self.crop_size, (1.0, 1.0), rng)
        return pad(image, maps, self.crop_size, rng, self.fill)


def _problem(result: Any, image: Tensor, maps: Tensor) -> str | None:
    """Return why a transform's result cannot be used; None if it can."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        return f"gives a {type(result).__name__}; must be (image, maps)"
    for name, part, before in zip(("image", "maps"), result, (image, maps), strict=True):
        if not isinstance(part, Tensor):
            return f"gives a {type(part).__name__} for the {name}; must be a tensor"
        if part.dtype != torch.uint8:
            return (
                f"gives the {name} as {part.dtype}; must be torch.uint8: seglab scales and "
                "normalises on the device"
            )
        if part.ndim != 3 or len(part) != len(before) or not part.numel():
            return f"gives the {name} as {tuple(part.shape)}; must be ({len(before)}, H, W)"
    new, new_maps = result
    if new.shape[1:] != new_maps.shape[1:]:
        sizes = [f"{part.shape[2]}x{part.shape[1]}" for part in result]
        return f"gives an image of {sizes[0]} pixels and maps of {sizes[1]}; they move together"
    allowed = torch.bincount(maps[0].flatten(), minlength=256) > 0
    allowed[VOID] = True
    values = torch.bincount(new_maps[0].flatten(), minlength=256) > 0
    if (wrong := (values & ~allowed).nonzero()).numel():
        return (
            f"gives a class map with the value {int(wrong[0])}, which the sample's does not have; "
            f"maps are resized by nearest neighbour and filled with {VOID}"
        )
    return None


def check_fill(transform: Any) -> None:
    """Check that a transform and those nested in it fill maps with void.

    Raises:
        ConfigError: it does not; names the transform and the fix.
    """
    name, mask = type(transform).__name__, tv_tensors.Mask
    fill = getattr(transform, "fill", None)
    of_masks = getattr(transform, "fill_mask", None)  # albumentations
    if of_masks not in (None, VOID):
        raise ConfigError(
            f"transforms: {name}.fill_mask={of_masks} is a class; give fill_mask: {VOID}"
        )
    of_torchvision = type(transform).__module__.startswith("torchvision.")
    of_maps = fill.get(mask, fill.get("others")) if isinstance(fill, dict) else fill
    if of_torchvision and hasattr(transform, "fill") and of_maps != VOID:
        raise ConfigError(
            f"transforms: {name}.fill={fill} fills class maps too; give fill: "
            "{_target_: seglab.transforms.void_fill}"
        )
    for part in getattr(transform, "transforms", None) or ():
        check_fill(part)


def void_fill(image: float | Sequence[float] = FILL) -> dict[Any, Any]:
    """Return the ``fill`` of torchvision's v2 transforms: void for maps, a colour for images."""
    colour = list(image) if isinstance(image, Sequence) else image
    return {tv_tensors.Image: colour, tv_tensors.Mask: VOID}


class Albumentations:
    """A pipeline of albumentations as a :data:`Transform`.

    Args:
        transforms: those of ``albumentations.Compose``.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        from albumentations import Compose  # an extra

        self.transforms = list(transforms)
        self.compose = Compose(self.transforms)

    def __call__(
        self, image: tv_tensors.Image, maps: tv_tensors.Mask
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Transform both, by a generator seeded from numpy's."""
        self.compose.set_random_seed(int(np.random.randint(2**31)))
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        result = self.compose(image=pixels, masks=list(maps.numpy()))
        array = torch.from_numpy(np.ascontiguousarray(result["image"]))
        masks = torch.from_numpy(np.stack(result["masks"]))
        return tv_tensors.Image(array.permute(2, 0, 1)), tv_tensors.Mask(masks)
