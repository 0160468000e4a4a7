"""Joint augmentation of an image and its class map: uint8 in, uint8 out.

Each is a pure function of the pixels and a random generator. The generator is a pure function of
(seed, epoch, sample id), so a sample is the same in any worker or process.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.data.classes import VOID
from seglab.ops import resize_nearest

FILL = (124, 116, 104)
"""ImageNet's mean colour: padding that is zero once the image has been normalised."""

_LUMA = torch.tensor([0.299, 0.587, 0.114])
_YIQ = torch.tensor(
    [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
)


class Augmentation(Protocol):
    """Turns a decoded sample into a training sample.

    Attributes:
        fill: the colour of padding, a value per channel; those of :data:`FILL` in turn if None.
    """

    fill: Sequence[int] | None

    def __call__(
        self, image: Tensor, maps: Tensor, rng: np.random.Generator, sample_id: str
    ) -> tuple[Tensor, Tensor]:
        """Return both augmented, without changing the inputs.

        Args:
            image: ``(C, H, W)`` uint8.
            maps: ``(N, H, W)`` uint8: the class map, and the instance map if there is one.
            rng: the sample's random stream, the only source of randomness.
            sample_id: for errors.

        Returns:
            ``(C, S, S)`` and ``(N, S, S)`` uint8, with S the crop size; without one, whole images.
        """


class JointTransform:
    """seglab's own augmentation: random resize, crop, horizontal flip, colours, padding.

    Args:
        crop_size: side of the square, in pixels; None: the image stays whole.
        scale: range of the resize factor.
        flip: probability of a horizontal flip.
        photometric: strength of the colour changes, 0 to 1.
        fill: the colour of the padding, a value per channel; those of :data:`FILL` in turn if None.
    """

    def __init__(
        self,
        crop_size: int | None,
        scale: Sequence[float],
        flip: float,
        photometric: float,
        fill: Sequence[int] | None = None,
    ) -> None:
        self.crop_size, self.scale = crop_size, scale
        self.flip, self.photometric, self.fill = flip, photometric, fill

    def __call__(
        self, image: Tensor, maps: Tensor, rng: np.random.Generator, sample_id: str = ""
    ) -> tuple[Tensor, Tensor]:
        """Return both augmented; see :class:`Augmentation`."""
        image, maps = scale_and_crop(image, maps, self.crop_size, self.scale, rng)
        image, maps = flip(image, maps, self.flip, rng)
        image = photometric(image, self.photometric, rng)
        return pad(image, maps, self.crop_size, rng, self.fill)


def generator(seed: int, epoch: int, sample_id: str) -> np.random.Generator:
    """Return the random stream of one sample in one epoch."""
    name = int.from_bytes(hashlib.blake2b(sample_id.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(np.random.SeedSequence((seed, epoch, name)))


def scale_and_crop(
    image: Tensor,
    maps: Tensor,
    crop: int | None,
    scale: Sequence[float],
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Resize by a random factor and take a random square crop.

    The source is cropped first and only the crop is resized: the same up to one pixel of rounding,
    at a fraction of the cost. If the result is smaller than the square, :func:`pad` fills it.

    Args:
        image: ``(C, H, W)`` uint8.
        maps: ``(…, H, W)`` uint8: a class map, or several maps that move together.
        crop: side of the square, in pixels; None: no crop.
        scale: range of the factor, uniform.
        rng: the random stream.

    Returns:
        ``(C, h, w)`` and ``(…, h, w)`` uint8, with h and w of at most ``crop``.
    """
    height, width = maps.shape[-2:]
    factor = rng.uniform(scale[0], scale[1])
    crop = crop or math.ceil(factor * max(height, width))
    rows, columns = min(height, math.ceil(crop / factor)), min(width, math.ceil(crop / factor))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    image = image[:, top : top + rows, left : left + columns]
    maps = maps[..., top : top + rows, left : left + columns]
    size = min(crop, max(1, round(rows * factor))), min(crop, max(1, round(columns * factor)))
    if size != (rows, columns):
        # A channels_last batch of one; torch takes an `image[None]` for a contiguous one
        # and returns planes, which costs three times as much here and later.
        batch = image.permute(1, 2, 0)[None].contiguous().permute(0, 3, 1, 2)
        image = F.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)[0]
        maps = resize_nearest(maps, size)
    return image, maps


def pad(
    image: Tensor,
    maps: Tensor,
    side: int | None,
    rng: np.random.Generator,
    fill: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Pad to a square, at a randomly chosen side of each axis.

    Applied after the photometric changes, so padding is exactly the mean colour, as in evaluation.

    Args:
        image: ``(C, h, w)`` uint8.
        maps: ``(…, h, w)`` uint8, padded with void.
        side: of the square, in pixels; at least h and w. None: no padding.
        rng: the random stream.
        fill: the colour of the padding, C values; those of :data:`FILL` in turn if None.

    Returns:
        ``(C, side, side)`` and ``(…, side, side)`` uint8.
    """
    if side is None:
        return image, maps
    height, width = maps.shape[-2:]
    top, left = rng.integers(2, size=2) * (side - height, side - width)
    return place(image, maps, (side, side), (top, left), fill)


def place(
    image: Tensor,
    maps: Tensor,
    size: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
    fill: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Place an image and its maps on a canvas of one colour and of void.

    Args:
        image: ``(C, h, w)`` uint8.
        maps: ``(…, h, w)`` uint8.
        size: height and width of the canvas, at least h and w.
        corner: row and column of the upper left pixel.
        fill: the colour, C values; those of :data:`FILL` in turn if None.
    """
    (height, width), (top, left) = maps.shape[-2:], corner
    if (height, width) == size:
        return image, maps
    rows, columns = slice(top, top + height), slice(left, left + width)
    channels = len(image)
    colour = tuple(fill or (FILL * channels)[:channels])
    padded = _blank(size, colour).clone().permute(2, 0, 1)
    padded[:, rows, columns] = image
    void = torch.full((*maps.shape[:-2], *size), VOID, dtype=torch.uint8)
    void[..., rows, columns] = maps
    return padded, void


@lru_cache(maxsize=4)
def _blank(size: tuple[int, int], colour: tuple[int, ...]) -> Tensor:
    """Return a canvas of one colour, ``(H, W, C)`` uint8; cached, as copying is fast."""
    return torch.tensor(colour, dtype=torch.uint8).expand(*size, -1).contiguous()


def flip(
    image: Tensor, class_map: Tensor, probability: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror both ``(…, H, W)`` left to right, with the given probability."""
    if rng.random() < probability:
        return image.flip(-1), class_map.flip(-1)
    return image, class_map


def photometric(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue of a ``(3, H, W)`` uint8 image at random.

    At strength 1 the ranges are those of SSD (Liu et al., ECCV 2016): brightness ±32, contrast
    and saturation 0.5 to 1.5, hue ±36 degrees, each applied with probability one half. All four
    are affine maps of RGB (hue as a rotation in YIQ; Haeberli, "Matrix Operations for Image
    Processing", 1993), so they are composed first and the pixels are touched once.
    """
    if not strength:
        return image
    amounts = rng.uniform(-strength, strength, 4) * (rng.random(4) < 0.5)
    if not amounts.any():
        return image
    brightness, contrast, saturation, hue = amounts.tolist()
    angle = math.radians(36 * hue)
    rotation = torch.eye(3)
    rotation[1:, 1:] = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    grey = _LUMA.expand(3, 3)
    saturate = grey + (1 + 0.5 * saturation) * (torch.eye(3) - grey)
    matrix = saturate @ torch.linalg.inv(_YIQ) @ rotation @ _YIQ * (1 + 0.5 * contrast)
    # Contrast pivots about mid-grey; saturation and hue leave greys unchanged.
    offset = 128 - (1 + 0.5 * contrast) * (128 - 32 * brightness)
    pixels = image.permute(1, 2, 0).reshape(-1, 3).float()
    changed = torch.addmm(torch.full((3,), offset), pixels, matrix.T)
    changed = changed.round_().clamp_(0, 255).to(torch.uint8)
    return changed.view(*image.shape[1:], 3).permute(2, 0, 1)
