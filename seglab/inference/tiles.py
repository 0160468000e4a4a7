"""Sliding windows: logits of an image of any size from overlapping tiles, in bounded memory.

The tiles form a grid, so the weight of a pixel in a tile is the product of a weight in its row and
one in its column. Each is Gaussian around the tile's centre, as in nnU-Net (Isensee et al., Nature
Methods 2021; standard deviation an eighth of the tile), and divided by the sum over the tiles that
cover the pixel. Borders of tiles, where a net lacks context, then count little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

RELATIVE_DEVIATION = 1 / 8
"""Standard deviation of a tile's weights, as a share of its length."""


@dataclass(frozen=True)
class Tiling:
    """Square tiles over an image.

    Attributes:
        size: height and width of a tile in pixels; an image that is smaller in one direction has
            tiles that are smaller in it.
        overlap: of neighbouring tiles at least, as a share of ``size`` in [0, 1).
    """

    size: int
    overlap: float

    def starts(self, length: int) -> list[int]:
        """Return the first pixel of each tile along an axis of ``length`` pixels, evenly spread."""
        last = max(0, length - self.size)
        step = max(1, math.floor(self.size * (1 - self.overlap)))
        steps = math.ceil(last / step)
        return [round(index * last / steps) for index in range(steps + 1)] if steps else [0]

    def weights(self, length: int) -> Tensor:
        """Return the weights of the tiles along an axis of ``length`` pixels.

        Returns:
            ``(N, min(size, length))`` float32: of each tile's pixels. Those of one pixel sum to 1.
        """
        size, starts = min(self.size, length), self.starts(length)
        offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
        bell = torch.exp(-0.5 * (offsets / (size * RELATIVE_DEVIATION)) ** 2)
        total = torch.zeros(length, dtype=torch.float64)
        for start in starts:
            total[start : start + size] += bell
        return torch.stack([bell / total[start : start + size] for start in starts]).float()

    def covers(self, height: int, width: int) -> bool:
        """Return whether one tile covers an image of this size."""
        return max(height, width) <= self.size


def tiled_logits(
    image: Tensor, tiling: Tiling, infer: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    """Yield the logits of an image in strips from top to bottom.

    No more than the logits of one row of tiles are held at a time. Where one tile covers the image,
    the one strip is what ``infer`` returns for it, bit for bit.

    Args:
        image: ``(1, C, H, W)``.
        tiling: the tiles.
        infer: maps a tile ``(1, C, h, w)`` to logits ``(1, K, h, w)``.

    Yields:
        ``(1, K, h, W)`` float32, or float64 if the net's are; the heights sum to H.
    """
    height, width = image.shape[-2:]
    if tiling.covers(height, width):
        yield infer(image)
        return
    down, across = tiling.weights(height).to(image.device), tiling.weights(width).to(image.device)
    tops, lefts = tiling.starts(height), tiling.starts(width)
    rows, columns = down.shape[1], across.shape[1]
    buffer: Tensor | None = None
    for top, of_rows, following in zip(tops, down, [*tops[1:], height], strict=True):
        for left, of_columns in zip(lefts, across, strict=True):
            logits = infer(image[..., top : top + rows, left : left + columns])
            if buffer is None:
                dtype = torch.promote_types(logits.dtype, torch.float32)
                buffer = logits.new_zeros((*logits.shape[:2], rows, width), dtype=dtype)
            weight = of_rows[:, None] * of_columns
            buffer[..., left : left + columns].addcmul_(logits.to(buffer.dtype), weight)
        assert buffer is not None
        complete = following - top
        yield buffer[:, :, :complete].clone()
        # The rows that the next tiles cover too move to the top, plane by plane.
        for plane in buffer.flatten(0, 1):
            plane[: rows - complete] = plane[complete:].clone()
        buffer[:, :, rows - complete :] = 0
