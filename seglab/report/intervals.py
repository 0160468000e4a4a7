"""Intervals of mIoU over images, and over seeds and images. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seglab.metrics.counts import Counts, jackknife_interval, unreliable
from seglab.report.record import RunRecord


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of mIoU; NaN where it is unknown."""

    low: float
    high: float
    unreliable: bool = False


UNKNOWN = Interval(math.nan, math.nan)


def interval(run: RunRecord) -> Interval:
    """Return the interval over images of a finished run's mIoU, from its counts if available."""
    if math.isnan(run.miou):
        return UNKNOWN
    if run.evaluation is None:
        ends = ("val/mIoU_low", "val/mIoU_high")
        low, high = (run.metrics.get(name, math.nan) for name in ends)
        return Interval(low, high)
    counts = run.evaluation.counts
    return Interval(*jackknife_interval(counts), unreliable(counts))


def same_images(runs: Sequence[RunRecord]) -> list[Counts]:
    """Return the counts of runs if all are of the same images; otherwise none."""
    first = runs[0].evaluation
    if first is None:
        return []
    counts = [
        run.evaluation.counts
        for run in runs
        if run.evaluation is not None and first.same_images(run.evaluation)
    ]
    return counts if len(counts) == len(runs) else []
