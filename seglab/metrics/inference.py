"""Several comparisons at once, and how much of a variance each factor explains. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from seglab.metrics.counts import Floats


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
        columns += [np.array([level == one for level in levels], float) for one in {*levels}]
    design = np.stack(columns, 1)
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(((values - fitted) ** 2).sum())


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of independent values and Student's interval; NaN ends for fewer than two."""
    numbers = np.asarray(values, np.float64)
    average = float(numbers.mean())
    if len(numbers) < 2:
        return average, math.nan, math.nan
    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    half = student_quantile((1 + confidence) / 2, len(numbers) - 1) * error
    return average, average - half, average + half


def student_quantile(probability: float, degrees: int) -> float:
    """Return a quantile, of 0.5 or more, of Student's t distribution, by numerical integration."""
    # With t = tan(a) * sqrt(degrees) the density is proportional to cos(a) ** (degrees - 1).
    angles = np.linspace(0, np.pi / 2, 200_001)
    density = np.cos(angles) ** (degrees - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(2 * (probability - 0.5), area / area[-1], angles)
    return float(np.tan(angle) * math.sqrt(degrees))
