"""Objects of a large image from overlapping tiles: parts of one object become one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seglab.data.instances import Detections
from seglab.inference.tiles import Tiling

SAME_OBJECT = 0.5
"""Share of the smaller mask from which two masks of different tiles are one object."""


@dataclass(frozen=True)
class _Piece:
    """An object as tiles show it: its mask within a window of the image."""

    window: tuple[int, int, int, int]
    mask: Tensor
    label: int
    score: float
    box: Tensor
    tiles: frozenset[int]


def tiled_objects(
    image: Tensor, tiling: Tiling, infer: Callable[[Tensor], Detections], limit: int
) -> Detections:
    """Return the objects of an image from its tiles.

    Non-maximum suppression over the whole image, by the overlap of masks and for objects of
    different tiles: in descending order of score, an object of which half lies in a kept one of its
    class, or the other way round, is the same object. The kept one gets the pixels of both: the
    border of a tile may have cut it. Where one tile covers the image, the result is what ``infer``
    returns for it.

    Args:
        image: ``(1, C, H, W)``.
        tiling: the tiles.
        infer: maps a tile ``(1, C, h, w)`` to its objects.
        limit: how many objects are kept, those of the highest scores.
    """
    height, width = image.shape[-2:]
    if tiling.covers(height, width):
        return infer(image)
    objects: list[_Piece] = []
    for piece in sorted(_pieces(image, tiling, infer), key=lambda piece: -piece.score):
        for index, other in enumerate(objects):
            if _is_same(piece, other):
                objects[index] = _united(other, piece)
                break
        else:
            objects.append(piece)
    return _detections(objects[:limit], height, width, image.device)


def _pieces(
    image: Tensor, tiling: Tiling, infer: Callable[[Tensor], Detections]
) -> Iterator[_Piece]:
    height, width = image.shape[-2:]
    size = tiling.size
    corners = [(top, left) for top in tiling.starts(height) for left in tiling.starts(width)]
    for number, (top, left) in enumerate(corners):
        detections = infer(image[..., top : top + size, left : left + size])
        shift = detections.boxes.new_tensor([left, top, left, top])
        for mask, label, score, box in zip(
            detections.masks,
            detections.labels.tolist(),
            detections.scores.tolist(),
            detections.boxes,
            strict=True,
        ):
            rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
            if not len(rows):
                continue
            y0, y1 = int(rows[0]), int(rows[-1]) + 1
            x0, x1 = int(columns[0]), int(columns[-1]) + 1
            window = (top + y0, left + x0, top + y1, left + x1)
            part = mask[y0:y1, x0:x1].clone()
            yield _Piece(window, part, label, score, box + shift, frozenset([number]))


def _is_same(piece: _Piece, other: _Piece) -> bool:
    if piece.label != other.label or piece.tiles <= other.tiles:
        return False
    top, left = (max(piece.window[i], other.window[i]) for i in (0, 1))
    bottom, right = (min(piece.window[i], other.window[i]) for i in (2, 3))
    if top >= bottom or left >= right:
        return False
    parts = [
        part.mask[
            top - part.window[0] : bottom - part.window[0],
            left - part.window[1] : right - part.window[1],
        ]
        for part in (piece, other)
    ]
    common = int((parts[0] & parts[1]).sum())
    smaller = min(int(piece.mask.sum()), int(other.mask.sum()))
    return common >= SAME_OBJECT * smaller


def _united(base: _Piece, piece: _Piece) -> _Piece:
    """Return a kept object with the pixels of another piece of it."""
    top, left = (min(base.window[i], piece.window[i]) for i in (0, 1))
    bottom, right = (max(base.window[i], piece.window[i]) for i in (2, 3))
    mask = base.mask.new_zeros((bottom - top, right - left))
    for part in (base, piece):
        y, x = part.window[0] - top, part.window[1] - left
        mask[y : y + part.mask.shape[0], x : x + part.mask.shape[1]] |= part.mask
    low, high = torch.minimum(base.box, piece.box), torch.maximum(base.box, piece.box)
    box, window = torch.cat([low[:2], high[2:]]), (top, left, bottom, right)
    return replace(base, window=window, mask=mask, box=box, tiles=base.tiles | piece.tiles)


def _detections(
    pieces: Sequence[_Piece], height: int, width: int, device: torch.device
) -> Detections:
    masks = torch.zeros(len(pieces), height, width, dtype=torch.bool, device=device)
    for mask, piece in zip(masks, pieces, strict=True):
        top, left, bottom, right = piece.window
        mask[top:bottom, left:right] = piece.mask
    return Detections(
        masks,
        torch.tensor([piece.label for piece in pieces], dtype=torch.int64, device=device),
        torch.tensor([piece.score for piece in pieces], device=device),
        torch.stack([p.box for p in pieces]) if pieces else torch.zeros(0, 4, device=device),
    )
