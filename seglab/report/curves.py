"""The history of a run, downsampled for a page. Imports no torch."""

from __future__ import annotations

import csv
import math
from itertools import islice
from pathlib import Path

import numpy as np

from seglab.metrics.counts import Floats

Curve = Floats
"""Points (step, value), ``(N, 2)`` float64, all finite."""

Curves = dict[str, Curve]

MAX_BYTES = 2**28
"""A history of a million steps takes a third of it."""

ROWS = 50_000
"""That are in memory as text at once."""

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
        drawn = [name for name in head if name.startswith(DRAWN)]
        parts: dict[str, list[Curve]] = {name: [] for name in drawn}
        while chunk := list(islice(rows, ROWS)):
            padded = [row + [""] * (len(head) - len(row)) for row in chunk if row]  # torn rows
            columns = dict(zip(head, zip(*padded, strict=False), strict=False))
            for name in drawn if padded else ():
                parts[name].append(_points(columns["step"], columns[name]))
    curves = {name: np.concatenate(points) for name, points in parts.items() if points}
    return {name: points for name, points in curves.items() if len(points)}


def _points(steps: tuple[str, ...], values: tuple[str, ...]) -> Curve:
    if "" in values:
        there = [place for place, value in enumerate(values) if value]
        steps, values = (tuple(column[place] for place in there) for column in (steps, values))
    points = np.array([list(map(float, steps)), list(map(float, values))]).T
    finite: Curve = points[np.isfinite(points).all(1)]
    return finite


def thin(points: Curve, most: int) -> Curve:
    """Return at most ``most`` points, each the mean of an equal number of neighbours."""
    size = math.ceil(len(points) / most)
    if size <= 1:
        return points
    starts = np.arange(0, len(points), size)
    counts = np.diff(starts, append=len(points))
    means: Curve = np.add.reduceat(points, starts) / counts[:, None]
    return means
