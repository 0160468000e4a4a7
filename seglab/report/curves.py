"""The history of a run, downsampled for a page. Imports no torch."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

Curve = list[tuple[float, float]]
"""Points (step, value), both finite."""

Curves = dict[str, Curve]

MAX_BYTES = 2**28
"""A history of a million steps takes a third of it."""

DRAWN = ("train/loss", "val/loss", "val/mIoU", "val/mask_AP", "lr/")
"""The columns that a page draws start with one of these."""


def read_curves(path: Path) -> Curves:
    """Read the columns to plot from ``metrics.csv``; empty if it does not exist.

    Raises:
        ValueError: a value is not a number, or the column ``step`` is missing.
    """
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        head = next(rows, [])
        if not head:
            return {}
        if "step" not in head:
            raise ValueError("no column 'step'")
        at = head.index("step")
        drawn = [(place, name) for place, name in enumerate(head) if name.startswith(DRAWN)]
        curves: Curves = {name: [] for _, name in drawn}
        for row in rows:
            for place, name in drawn:
                if place < len(row) and row[place]:
                    point = (float(row[at]), float(row[place]))
                    if all(map(math.isfinite, point)):
                        curves[name].append(point)
    return {name: points for name, points in curves.items() if points}


def thin(points: Sequence[tuple[float, float]], most: int) -> Curve:
    """Return at most ``most`` points, each the mean of an equal number of neighbours."""
    size = math.ceil(len(points) / most)
    if size <= 1:
        return list(points)
    bins = [points[start : start + size] for start in range(0, len(points), size)]
    return [tuple(sum(axis) / len(part) for axis in zip(*part, strict=True)) for part in bins]
