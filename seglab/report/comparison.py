"""Comparison of runs: rank, differing settings, seeds, differences. Imports no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from seglab.metrics.counts import Counts, paired_test, unreliable
from seglab.metrics.statistics import holm, over_seeds_and_images
from seglab.report.effects import Effects, effects
from seglab.report.front import Front, pareto_front
from seglab.report.intervals import Interval, interval, same_images
from seglab.report.record import RunRecord
from seglab.report.seeds import Repeat, SeedGroup, seed_groups
from seglab.report.settings import differing, label

T = TypeVar("T")

LABELLED = 6
"""Settings that a run's label may have; with more, its name is shorter and says as much."""


@dataclass(frozen=True)
class Pair(Generic[T]):
    """mIoU of the best run, or group of seeds, minus that of another, over the same images.

    Attributes:
        better: the best one.
        other: the other one.
        difference: of their mIoU, or of their means.
        interval: of the difference, for groups over seeds and images; those of all pairs, of which
            these are the ones with the best, contain their true values with 95 % (Bonferroni).
        p_value: of no difference, corrected for the number of all pairs (Holm).
        images: how many both were measured on.
    """

    better: T
    other: T
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
        group_pairs: the same of the groups' means.
        effects: what the swept settings and the seed explain.
        front: of a search with several objectives.
    """

    runs: list[RunRecord]
    differing: list[str]
    named: int
    intervals: list[Interval]
    groups: list[SeedGroup]
    repeats: list[Repeat]
    pairs: list[Pair[RunRecord]]
    group_pairs: list[Pair[SeedGroup]]
    effects: Effects | None
    front: Front | None

    @property
    def unreliable(self) -> bool:
        """Whether any interval has too few images."""
        return any(interval.unreliable for interval in self.intervals)

    @property
    def unpaired(self) -> list[RunRecord]:
        """The finished runs that cannot be compared with the best on the same images."""
        results = [run for run in self.runs if not math.isnan(run.miou)]
        return [run for run in results[1:] if not same_images([results[0], run])]

    @property
    def swept(self) -> list[str]:
        """The settings to name, but the seed."""
        return [key for key in self.differing[: self.named] if key != "seed"]

    def group_label(self, group: SeedGroup) -> str:
        """Return what tells a group from others."""
        return label(group.runs[0], self.swept)

    def run_label(self, run: RunRecord) -> str:
        """Return the settings that tell a run from all others; its name if not, or if many do."""
        return self._labels.get(id(run), run.name)

    @cached_property
    def _labels(self) -> dict[int, str]:
        if self.named > LABELLED and len({run.name for run in self.runs}) == len(self.runs):
            return {}
        labels = [label(run, self.differing[: self.named]) for run in self.runs]
        alike = Counter(labels)
        pairs = zip(self.runs, labels, strict=True)
        return {id(run): text for run, text in pairs if alike[text] == 1 and self.named}


def compare(runs: Iterable[RunRecord]) -> Comparison:
    """Rank runs and compute their statistics."""
    ranked = sorted(runs, key=lambda run: -run.miou if run.miou == run.miou else math.inf)
    named, others = differing(ranked)
    groups, repeats = seed_groups(ranked)
    return Comparison(
        ranked,
        named + others,
        len(named),
        [interval(run) for run in ranked],
        groups,
        repeats,
        pairs(ranked),
        group_pairs(groups),
        effects(ranked, [key for key in named if key != "seed"]),
        pareto_front(ranked),
    )


def pairs(runs: Iterable[RunRecord]) -> list[Pair[RunRecord]]:
    """Return the paired differences of the best result to those of other runs on its images."""
    results = [run for run in runs if not math.isnan(run.miou)]
    comparable = [(run, counts) for run in results for counts in same_images([results[0], run])[1:]]
    return _paired(comparable, paired_test)


def group_pairs(groups: Sequence[SeedGroup]) -> list[Pair[SeedGroup]]:
    """Return the differences of the best group's mean to those of groups on its images."""
    comparable = [
        (group, group.counts)
        for group in groups
        if group.counts and same_images([groups[0].runs[0], group.runs[0]])
    ]
    best_is_counted = comparable and comparable[0][0] is groups[0]
    return _paired(comparable, over_seeds_and_images) if best_is_counted else []


C = TypeVar("C", Counts, list[Counts])


def _paired(
    results: Sequence[tuple[T, C]], test: Callable[..., tuple[float, float, float, float]]
) -> list[Pair[T]]:
    """Return the differences of the first result to the others, corrected for all pairs."""
    if len(results) < 2:
        return []
    (best, counts), *others = results
    # The best was chosen by the same images, so any two of the results could have been compared.
    count = len(results) * (len(results) - 1) // 2
    tests = [test(counts, other, confidence=1 - 0.05 / count) for _, other in others]
    corrected = holm([p_value for *_, p_value in tests], count)
    return [
        Pair(
            best,
            other,
            difference,
            Interval(low, high, any(map(unreliable, _each(counts) + _each(its)))),
            p_value,
            len(_each(counts)[0]),
        )
        for (other, its), (difference, low, high, _), p_value in zip(
            others, tests, corrected, strict=True
        )
    ]


def _each(counts: Counts | list[Counts]) -> list[Counts]:
    return counts if isinstance(counts, list) else [counts]
