"""Comparison of runs: rank, differing settings, seeds, intervals. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from seglab.metrics.counts import jackknife_interval, paired_test, unreliable
from seglab.metrics.inference import holm
from seglab.report.effects import Effects, effects
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
    """mIoU of the best run minus that of another, over the same images.

    Attributes:
        better: the best run.
        other: the other one.
        difference: of their mIoU.
        interval: of the difference; those of all pairs of the results, of which these are the ones
            with the best, contain their true values with 95 % (Bonferroni).
        p_value: of no difference, corrected for the number of pairs of all results (Holm).
        images: how many both were measured on.
    """

    better: RunRecord
    other: RunRecord
    difference: float
    interval: Interval
    p_value: float
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
        pairs: the differences of the best result to each other one on the same images.
        effects: what the swept settings and the seed explain.
    """

    runs: list[RunRecord]
    differing: list[str]
    named: int
    intervals: list[Interval]
    groups: list[SeedGroup]
    repeats: list[Repeat]
    pairs: list[Pair]
    effects: Effects | None

    @property
    def unreliable(self) -> bool:
        """Whether any interval has too few images."""
        return any(interval.unreliable for interval in self.intervals)


def compare(runs: Iterable[RunRecord]) -> Comparison:
    """Rank runs and compute their statistics."""
    ranked = sorted(runs, key=lambda run: -run.miou if run.miou == run.miou else math.inf)
    named, others = differing(ranked)
    intervals = [interval(run) for run in ranked]
    groups, repeats = seed_groups(ranked)
    return Comparison(
        ranked,
        named + others,
        len(named),
        intervals,
        groups,
        repeats,
        pairs(ranked),
        effects(ranked, [key for key in named if key != "seed"]),
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


def pairs(runs: Iterable[RunRecord]) -> list[Pair]:
    """Return the paired differences of the best result to those of other runs on its images."""
    results = [run for run in runs if not math.isnan(run.miou)]
    if len(results) < 2 or (first := results[0].evaluation) is None:
        return []
    others = [
        (run, run.evaluation)
        for run in results[1:]
        if run.evaluation is not None and first.same_images(run.evaluation)
    ]
    # The best was chosen by the same images, so any two of the results could have been compared.
    count = len(others) * (len(others) + 1) // 2
    found = [
        paired_test(first.counts, other.counts, confidence=1 - 0.05 / max(1, count))
        for _, other in others
    ]
    corrected = holm([p_value for *_, p_value in found], count)
    return [
        Pair(
            results[0],
            run,
            difference,
            Interval(low, high, unreliable(first.counts) or unreliable(other.counts)),
            p_value,
            len(first.ids),
        )
        for (run, other), (difference, low, high, _), p_value in zip(
            others, found, corrected, strict=True
        )
    ]
