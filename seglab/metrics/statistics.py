"""Several comparisons at once, and how much of a variance each factor explains. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from seglab.metrics.counts import Counts, Floats, leave_one_out, miou


def holm(p_values: Sequence[float], count: int | None = None) -> list[float]:
    """Return p-values corrected for their number: Holm, Scandinavian Journal of Statistics 1979.

    With m of them, the k-th smallest is multiplied by m - k + 1, and no corrected value is smaller
    than one before it. The chance of any false rejection is then at most the level.

    Args:
        p_values: those to correct.
        count: m, if these are only some of them: as if the others were larger.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, ((count or len(order)) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def variance_shares(
    values: Sequence[float], factors: Sequence[Sequence[Hashable]], cells: Sequence[Hashable]
) -> tuple[list[float], float]:
    """Return each factor's share of the variance of values, and that within equal settings.

    Analysis of variance of the main effects, type II: a factor's sum of squares is what the fit of
    all factors loses without it, so factors that vary together are not counted twice (Searle,
    *Linear Models*, 1971, chapter 8). What is left to 1 are interactions, or shares of factors that
    vary together.

    Args:
        values: one per run, N.
        factors: of each of F factors, the level of each run.
        cells: of each run, what all its settings are; equal for runs that differ in the seed alone.

    Returns:
        F shares of the total sum of squares, and the share within equal cells: that of the seed
        and of everything else that was not set. All NaN if all values are equal.
    """
    numbers = np.asarray(values, np.float64)
    total = float(((numbers - numbers.mean()) ** 2).sum())
    if total == 0:
        return [math.nan] * len(factors), math.nan
    full = _left(numbers, factors)
    shares = [
        max(0.0, _left(numbers, [*factors[:index], *factors[index + 1 :]]) - full) / total
        for index in range(len(factors))
    ]
    return shares, _left(numbers, [cells]) / total


def _left(values: Floats, factors: Sequence[Sequence[Hashable]]) -> float:
    """Return the sum of squares that the main effects of the factors leave."""
    columns = [np.ones(len(values))]
    for levels in factors:
        columns += [np.array([level == chosen for level in levels], float) for chosen in {*levels}]
    design = np.stack(columns, 1)
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(((values - fitted) ** 2).sum())


def over_seeds_and_images(
    one: Sequence[Counts], other: Sequence[Counts] = (), *, confidence: float = 0.95
) -> tuple[float, float, float, float]:
    """Return the mean mIoU over seeds, its interval, low and high, and a p-value.

    With ``other``, the same of the difference to its mean. The p-value is that of a value of 0: the
    smallest level whose interval does not contain it.

    Seeds and images are two crossed random factors, so the variance of the mean of S seeds over N
    images is the sum of three components (Searle, Casella and McCulloch, *Variance Components*,
    1992, chapter 5)::

        V = v_images + v_seeds - v_both

    v_images is the jackknife's variance over images of the mean over seeds, as in
    :func:`~seglab.metrics.counts.jackknife_interval`; v_seeds the sample variance over seeds of
    mIoU, divided by S; v_both, which both of them contain, S times less than the jackknife's
    variance over images of a seed's deviation from the mean. For a difference, v_seeds - v_both is
    added up over its two sides, and v_images is that of the difference, so that what makes an
    image hard for both cancels. Student's quantile has the degrees of freedom of Satterthwaite
    (*Biometrics* 2, 1946), 1 / (v_images^2 / (N - 1) + sum v_seeds^2 / (S - 1)) * V^2. The interval
    is stretched to the jackknife's estimate without bias.

    Args:
        one: of each of two or more seeds the counts ``(N, 3, K)``, of the same images.
        other: those of the runs to subtract, of the same images too; empty: nothing.
        confidence: the share of intervals that contain the true value.
    """
    sides = [side for side in (one, other) if side]
    left = [np.stack([leave_one_out(counts) for counts in side]) for side in sides]
    scores = [np.array([float(miou(counts.sum(0))) for counts in side]) for side in sides]
    value = float(scores[0].mean() - sum(side.mean() for side in scores[1:]))
    without = left[0].mean(0) - sum(side.mean(0) for side in left[1:])
    number = len(without)
    if number < 2 or min(map(len, sides)) < 2 or np.isnan(without).any():
        return value, math.nan, math.nan, math.nan
    images = (number - 1) * float(without.var())
    total, uncertain = images, images**2 / (number - 1)
    for score, side in zip(scores, left, strict=True):
        seeds = float(score.var(ddof=1)) / len(score)
        deviations = (number - 1) * float((side - side.mean(0)).var(1).sum())
        total += max(0.0, seeds - deviations / (len(score) * (len(score) - 1)))
        uncertain += seeds**2 / (len(score) - 1)
    unbiased = value - (number - 1) * (float(without.mean()) - value)
    first, last, error = min(value, unbiased), max(value, unbiased), math.sqrt(total)
    if not total:
        return value, first, last, float(first <= 0 <= last)
    student = Student(total**2 / uncertain)
    half = student.quantile((1 + confidence) / 2) * error
    nearest = max(first, -last, 0.0)
    lowest = -1.0 if other else 0.0
    low, high = max(lowest, first - half), min(1.0, last + half)
    return value, low, high, 2 * (1 - student.share(nearest / error))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of independent values and Student's interval; NaN ends for fewer than two."""
    numbers = np.asarray(values, np.float64)
    average = float(numbers.mean())
    if len(numbers) < 2:
        return average, math.nan, math.nan
    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    half = Student(len(numbers) - 1).quantile((1 + confidence) / 2) * error
    return average, average - half, average + half


class Student:
    """Student's t distribution with any number of degrees of freedom, integrated numerically."""

    def __init__(self, degrees: float) -> None:
        # With t = tan(a) * sqrt(degrees) the density is proportional to cos(a) ** (degrees - 1).
        self.scale, self.angles = math.sqrt(degrees), np.linspace(0, np.pi / 2, 40_001)
        density = np.cos(self.angles) ** (degrees - 1)
        area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
        self.area = area / area[-1]

    def quantile(self, probability: float) -> float:
        """Return a quantile, of 0.5 or more."""
        return self.scale * math.tan(np.interp(2 * (probability - 0.5), self.area, self.angles))

    def share(self, quantile: float) -> float:
        """Return the probability of all values up to a quantile that is not negative."""
        return 0.5 + float(np.interp(math.atan(quantile / self.scale), self.angles, self.area)) / 2
