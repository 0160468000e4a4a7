"""What follows from the pixels that each image has of each class: IoU, mIoU, intervals.

``counts`` is ``(N, 3, K)`` int64 throughout: the pixels of each class in truth, in prediction and
in both, for each of N images, void left out. Knows no torch, so that runs are compared at once.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FEW_IMAGES, FEW_OF_A_CLASS = 100, 5
"""Below so many images, or images of a class, an interval covers less than it should."""

UNRELIABLE = (
    f"* unreliable interval: fewer than {FEW_IMAGES} images, or a class in fewer than "
    f"{FEW_OF_A_CLASS} of them"
)
"""The footnote of every interval that :func:`unreliable` is true of."""


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


def jackknife_interval(counts: Counts, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of mIoU over images: mIoU ± t * its jackknife standard error.

    The images are taken for a random sample of all images that could have been drawn in their
    place; the model is fixed, so what another training would change is not in the interval.
    With m_i the mIoU without image i, the standard error is sqrt((N - 1) / N * sum (m_i - mean
    m)^2) (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, equation 11.5). A few
    images, those with rare classes, make up most of that sum, so t is Student's with as many
    degrees of freedom as the sum has (Satterthwaite, Biometrics Bulletin 2(6), 1946). A class
    that only image i has is left out of m_i, as mIoU leaves it out. The interval is clipped to
    0..1; both ends are NaN for fewer than two images with a valid pixel.

    ``benchmarks/coverage.py`` measures how often it contains the truth.
    """
    return _interval(float(miou(counts.sum(0))), _without_each(counts), confidence, lowest=0)


def paired_difference(
    one: Counts, other: Counts, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return mIoU of ``one`` minus mIoU of ``other``, and its interval, low and high.

    Both are counts of the same images in the same order, and image i is left out of both, so that
    what makes an image hard for either cancels. Clipped to -1..1, otherwise as
    :func:`jackknife_interval`.

    Raises:
        ValueError: not the same number of images and classes.
    """
    if one.shape != other.shape:
        raise ValueError(f"counts of {one.shape} and {other.shape} are not of the same images")
    difference = float(miou(one.sum(0)) - miou(other.sum(0)))
    without_each = _without_each(one) - _without_each(other)
    return (difference, *_interval(difference, without_each, confidence, lowest=-1))


def unreliable(counts: Counts) -> bool:
    """Tell whether images are too few for an interval: all, or those that have some class.

    A class in neither truth nor prediction is not counted, as mIoU leaves it out.
    """
    truth, prediction, _ = counts.transpose(1, 0, 2)
    occurs = (truth + prediction).any(0)
    images = (truth > 0).sum(0)[occurs]
    return len(counts) < FEW_IMAGES or bool((images < FEW_OF_A_CLASS).any())


def _without_each(counts: Counts) -> Floats:
    """Return the mIoU of all images but the i-th, for each i, ``(N,)`` float64."""
    total = counts.sum(0)
    parts = np.array_split(counts, len(counts) // 4096 + 1)  # little memory for many images
    return np.concatenate([miou(total - part) for part in parts])


def _interval(
    value: float, without_each: Floats, confidence: float, lowest: float
) -> tuple[float, float]:
    images = len(without_each)
    if images < 2 or np.isnan(without_each).any():
        return math.nan, math.nan
    squares = (without_each - without_each.mean()) ** 2
    if not squares.any():
        return value, value
    error = math.sqrt((images - 1) / images * float(squares.sum()))
    freedom = float(squares.sum() ** 2 / (squares**2).sum())
    half = student_quantile((1 + confidence) / 2, freedom) * error
    return max(lowest, value - half), min(1.0, value + half)


def student_quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's t, to 1 % for a freedom of 2 and better above.

    Source: Abramowitz and Stegun, *Handbook of Mathematical Functions*, 1964, equation 26.7.5.
    """
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**order for order, term in enumerate(terms, 1))
