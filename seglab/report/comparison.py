"""Comparison of runs: rank, differing settings, seeds, intervals. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from seglab.metrics.counts import jackknife_interval, paired_difference, unreliable
from seglab.report.record import RunRecord
from seglab.report.seeds import Repeat, SeedGroup, seed_groups
from seglab.report.settings import differing


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of mIoU over images; NaN where it is unknown."""

    low: float
    high: float
    unreliable: bool = False


@dataclass(frozen=True)
class Pair:
    """mIoU of the better run minus that of the other, with its interval over the same images."""

    better: RunRecord
    other: RunRecord
    difference: float
    interval: Interval
    images: int


@dataclass(frozen=True)
class Comparison:
    """Runs in the order of their mIoU, and their statistics.

    Attributes:
        runs: the best first; those without a result last.
        differing: the settings that differ; first the data and the keys of overrides.
        named: the number of those first ones.
        intervals: of mIoU over images, for each of ``runs``.
        groups: runs that differ only in their seed, two seeds or more, the best first.
        repeats: runs without any difference.
        pair: the difference of two results on the same images.
    """

    runs: list[RunRecord]
    differing: list[str]
    named: int
    intervals: list[Interval]
    groups: list[SeedGroup]
    repeats: list[Repeat]
    pair: Pair | None

    @property
    def unreliable(self) -> bool:
        """Whether any interval has too few images."""
        return any(interval.unreliable for interval in self.intervals)


def compare(runs: Iterable[RunRecord]) -> Comparison:
    """Rank runs and compute their statistics."""
    ranked = sorted(runs, key=lambda run: -run.miou if run.miou == run.miou else math.inf)
    named, others = differing(ranked)
    intervals = [interval(run) for run in ranked]
    return Comparison(
        ranked, named + others, len(named), intervals, *seed_groups(ranked), pair(ranked)
    )


def interval(run: RunRecord) -> Interval:
    """Return the interval of a finished run's mIoU, from its counts if available."""
    if math.isnan(run.miou):
        return Interval(math.nan, math.nan)
    if run.evaluation is None:
        ends = ("val/mIoU_low", "val/mIoU_high")
        low, high = (run.metrics.get(name, math.nan) for name in ends)
        return Interval(low, high)
    counts = run.evaluation.counts
    return Interval(*jackknife_interval(counts), unreliable(counts))


def pair(runs: Iterable[RunRecord]) -> Pair | None:
    """Return the paired difference, if exactly two runs have a result, on the same images."""
    results = [run for run in runs if not math.isnan(run.miou)]
    if len(results) != 2:
        return None
    (better, first), (other, second) = ((run, run.evaluation) for run in results)
    if first is None or second is None or not first.same_images(second):
        return None
    difference, low, high = paired_difference(first.counts, second.counts)
    doubtful = unreliable(first.counts) or unreliable(second.counts)
    return Pair(better, other, difference, Interval(low, high, doubtful), len(first.ids))
