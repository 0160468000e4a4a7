"""Polygons and run lengths, drawn as COCO's tools draw them. Imports no torch.

Polygons are drawn by faster-coco-eval, a port of COCO's own C. It does not validate its input, so
polygons are checked here first, and run lengths are decoded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as run_length

from seglab.data.classes import VOID

MAX_OUTLINE = 1_000_000
"""Pixels along the outline of a polygon: COCO's C code needs some 140 bytes for each."""


def paint(
    content: Mapping[str, Any], labels: Mapping[int, int | None]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Paint the objects of an image, the largest first, so that smaller ones are on top.

    COCO's panoptic tools use the same order. Crowds are void, below all objects.

    Args:
        content: one of ``Listing.entries``, parsed: those of
            :class:`~seglab.data.layouts.coco_listing.Listing`.
        labels: the label of each category; None means not painted.

    Returns:
        The class map ``(H, W)`` uint8, 255 for void; the instance map ``(H, W)`` int32, ids from 1
        in the order of the file, 255 for void; and the number of objects. With more than 254
        objects the instance map is unusable.

    Raises:
        ValueError: an invalid segmentation, or one that does not fit the image; names the
            annotation.
    """
    height, width = content["size"]
    shapes: list[tuple[bool, int, int, int, np.ndarray]] = []
    number = 0
    for item in content["annotations"]:
        label = labels[item["category"]]
        if label is None:
            continue
        try:
            runs = _runs(item["segmentation"], height, width)
        except ValueError as error:
            raise ValueError(f"{item['name']}: {error}") from None
        if item["crowd"]:
            label, identity = VOID, VOID
        else:
            number += 1
            identity = number
        shapes.append((not item["crowd"], -int(runs[1::2].sum()), label, identity, runs))
    # Run lengths are column-major.
    class_map = np.zeros(width * height, np.uint8)
    instance_map = np.zeros(width * height, np.int32)
    for _, _, label, identity, runs in sorted(shapes, key=lambda shape: shape[:2]):
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        class_map[inside] = label
        instance_map[inside] = identity
    shape = (width, height)
    return class_map.reshape(shape).T.copy(), instance_map.reshape(shape).T.copy(), number


def _runs(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return column-major run lengths, background first; they add up to H * W."""
    if isinstance(segmentation, dict):
        if segmentation.get("size") != [height, width]:
            raise ValueError(f"its size is {segmentation.get('size')}, not [{height}, {width}]")
        counts = segmentation.get("counts")
        if isinstance(counts, str):
            counts = _decompressed(counts)
        if (
            not isinstance(counts, list)
            or not all(type(count) is int and count >= 0 for count in counts)
            or sum(counts) != height * width
        ):
            raise ValueError(f"run lengths that do not add up to {height} * {width} pixels")
        return np.array(counts, np.int64)
    polygons = [_polygon(points, height, width) for points in segmentation]
    merged = run_length.merge(run_length.frPyObjects(polygons, height, width))
    return np.array(_decompressed(merged["counts"]), np.int64)


def _polygon(points: Any, height: int, width: int) -> list[float]:
    if (
        not isinstance(points, list)
        or len(points) % 2
        or not all(type(value) in (int, float) and abs(value) < inf for value in points)
    ):
        raise ValueError("a polygon is a list of numbers: x, y, x, y, …")
    if len(points) < 6:  # COCO's tools would take four numbers for a box
        raise ValueError(f"a polygon of {len(points) // 2} points encloses nothing; remove it")
    # Each edge is drawn pixel by pixel, even outside the image.
    for axis, side in ((points[::2], width), (points[1::2], height)):
        if min(axis) < -side or max(axis) > 2 * side:
            raise ValueError(f"a polygon that leads far out of the image of {width}x{height}")
    corners = np.array(points, np.float64).reshape(-1, 2)
    edges = np.abs(corners - np.roll(corners, 1, 0)).max(1)
    if edges.sum() > MAX_OUTLINE:
        raise ValueError(f"a polygon with an outline of more than {MAX_OUTLINE:,} pixels")
    return points


def _decompressed(text: str | bytes) -> list[int]:
    """Return the counts of COCO's compressed run lengths (``rleFrString`` in its maskApi.c).

    Six bits per character: five bits of the number, lowest first, and one continuation bit. From
    the fourth count on, the difference to the count two places before is stored.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for code in text.encode() if isinstance(text, str) else text:
        bits = code - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("run lengths with a character that COCO's tools do not write")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    return counts
