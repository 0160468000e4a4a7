"""What follows from the pixels that each image has of each class: IoU, mIoU, intervals.

``counts`` is ``(N, 3, K)`` int64 throughout: the pixels of each class in truth, in prediction and
in both, for each of N images, void left out. Knows no torch, so that runs are compared at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """Divide float64 by float64; NaN where ``whole`` is 0."""
    out: Floats = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=out, where=np.asarray(whole) > 0)
    return out


def mean(values: Floats) -> Floats:
    """Average the last axis over what is not NaN; NaN where all of it is."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(-1))


def iou(counts: npt.NDArray[np.generic]) -> Floats:
    """Return the IoU of each class, (..., 3, K) -> (..., K); NaN for a class that is in neither."""
    truth, prediction, both = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    return ratio(both, truth + prediction - both)


def miou(counts: npt.NDArray[np.generic]) -> Floats:
    """Return the mean IoU over the classes that occur, (..., 3, K) -> (...)."""
    return mean(iou(counts))


def bootstrap_interval(
    counts: Counts, *, samples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of mIoU over images.

    N images are drawn with replacement, their ``counts`` summed, and mIoU taken of the sums; the
    interval holds the middle ``confidence`` of ``samples`` such values (Efron and Tibshirani, *An
    Introduction to the Bootstrap*, 1993, chapter 13). It follows from ``seed`` and the order of the
    images. Draws without a valid pixel are left out; both ends are NaN if no other is left, or N
    is 0.
    """
    return _middle(_drawn_mious(counts, samples, seed), confidence)


def paired_difference(
    one: Counts, other: Counts, *, samples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Return mIoU of ``one`` minus mIoU of ``other``, and its bootstrap interval, low and high.

    Both are counts of the same images in the same order, and each draw takes the same images of
    both, so that what makes an image hard for either cancels. Otherwise as
    :func:`bootstrap_interval`.

    Raises:
        ValueError: not the same number of images and classes.
    """
    if one.shape != other.shape:
        raise ValueError(f"counts of {one.shape} and {other.shape} are not of the same images")
    difference = _drawn_mious(one, samples, seed) - _drawn_mious(other, samples, seed)
    between = float(miou(one.sum(0)) - miou(other.sum(0)))
    return (between, *_middle(difference, confidence))


def _middle(values: Floats, confidence: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _drawn_mious(counts: Counts, samples: int, seed: int) -> Floats:
    """Return the mIoU of each of ``samples`` draws of N images, float64."""
    images, _, num_classes = counts.shape
    if not images:
        return np.empty(0)
    rows = counts.reshape(images, -1).astype(np.float64)
    chunk = max(1, 2**22 // max(images, 3 * num_classes))  # arrays of 32 MiB at most
    draws = _remembered if images * samples <= 2**22 else _draws
    sums = (times @ rows for times in draws(images, samples, seed, chunk))  # exact: below 2**53
    return np.concatenate([miou(each.reshape(-1, 3, num_classes)) for each in sums])


@lru_cache(maxsize=1)
def _remembered(images: int, samples: int, seed: int, chunk: int) -> list[Floats]:
    """Keep the draws where they are small: the runs of a sweep have the same number of images."""
    return list(_draws(images, samples, seed, chunk))


def _draws(images: int, samples: int, seed: int, chunk: int) -> Iterator[Floats]:
    """Yield how often each image is in each draw, in chunks ``(C, N)``."""
    generator = np.random.default_rng(seed)
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        picks = generator.integers(images, size=(size, images))
        picks += images * np.arange(size)[:, None]
        times = np.bincount(picks.ravel(), minlength=size * images).reshape(size, images)
        yield times.astype(np.float64)
