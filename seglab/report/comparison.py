"""What a comparison of runs says: rank, differing settings, seeds, intervals. Knows no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from seglab.counts import bootstrap_interval, paired_difference
from seglab.report.runs import RunRecord

IGNORED = (
    "resume",
    "checkpoint",
    "trust",
    "predictions",
    "hydra",
    "logger",
    "pictures",
    "sweep",
    "data.root",
    "data.store",
    "data.num_workers",
)
"""Settings, and groups of them, that say where and how loudly a run went rather than what it is."""


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ only in their seed: how many, mean and sample standard deviation of mIoU."""

    runs: list[RunRecord]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Pair:
    """mIoU of the better run minus that of the other, with its interval over the same images."""

    better: RunRecord
    other: RunRecord
    difference: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Comparison:
    """Runs in the order of their mIoU, and what follows from them.

    Attributes:
        runs: the best first; those without a result last.
        differing: the settings that differ, those that an override names first.
        named: how many of ``differing`` an override names.
        intervals: of mIoU over images, for each of ``runs``; NaN where it cannot be told.
        groups: runs that differ only in their seed, two or more each, the best first.
        pair: for two results on the same images, their difference.
    """

    runs: list[RunRecord]
    differing: list[str]
    named: int
    intervals: list[tuple[float, float]]
    groups: list[SeedGroup]
    pair: Pair | None


def compare(runs: Iterable[RunRecord]) -> Comparison:
    """Rank runs and work out what a comparison of them shows."""
    ranked = sorted(runs, key=lambda run: -run.miou if run.miou == run.miou else math.inf)
    named, others = differing(ranked)
    return Comparison(
        ranked, named + others, len(named), [interval(run) for run in ranked], groups(ranked),
        pair(ranked),
    )  # fmt: skip


def interval(run: RunRecord) -> tuple[float, float]:
    """Return the bootstrap interval of a finished run's mIoU; NaN where it cannot be told."""
    if math.isnan(run.miou):
        return math.nan, math.nan
    if run.evaluation is None:
        ends = ("val/mIoU_low", "val/mIoU_high")
        low, high = (run.metrics.get(name, math.nan) for name in ends)
        return low, high
    return bootstrap_interval(run.evaluation.counts)


def setting(run: RunRecord, key: str) -> str:
    """Return a setting of a run as text; for a group such as ``experiments``, the chosen option."""
    if key in run.settings:
        value = run.settings[key]
        if key == "model.weights" and isinstance(value, str):
            value = Path(value).name
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _given(run).get(key, "")


def differing(runs: Sequence[RunRecord]) -> tuple[list[str], list[str]]:
    """Return the settings that differ between runs: those that overrides name, and the others.

    A choice of a group (``model=fcn8s``) names the group's ``name`` where it has one.
    """
    known = list(dict.fromkeys(key for run in runs for key in run.settings))
    wanted: dict[str, None] = dict.fromkeys(["model.name", "data.name"])
    for given in dict.fromkeys(key for run in runs for key in _given(run)):
        below = [key for key in known if key == given or key.startswith(f"{given}.")]
        if f"{given}.name" in below:
            below = [f"{given}.name"]
        elif given not in below and "." not in given:  # a group: its option says more than its keys
            below = [given]
        wanted |= dict.fromkeys(below)
    told = [run for run in runs if run.settings]

    def differs(key: str) -> bool:
        return not _ignored(key) and len({setting(run, key) for run in told}) > 1

    def matters(key: str) -> bool:  # a group given by one run may be the default of another
        below = [one for one in known if one.startswith(f"{key}.")]
        return differs(key) and (not below or any(map(differs, below)))

    named = [key for key in wanted if matters(key)]
    return named, [key for key in known if key not in wanted and differs(key)]


def groups(runs: Iterable[RunRecord]) -> list[SeedGroup]:
    """Return the finished runs that differ only in ``seed``, two or more in a group."""
    alike: dict[str, dict[Any, RunRecord]] = {}
    for run in runs:
        if not math.isnan(run.miou) and "seed" in run.settings:
            same = {
                key: value
                for key, value in run.settings.items()
                if key != "seed" and not _ignored(key)
            }
            what = json.dumps([run.kind, same], sort_keys=True, default=str)
            alike.setdefault(what, {}).setdefault(run.settings["seed"], run)
    found = [list(by_seed.values()) for by_seed in alike.values() if len(by_seed) > 1]
    result = [
        SeedGroup(some, fmean(r.miou for r in some), stdev(r.miou for r in some)) for some in found
    ]
    return sorted(result, key=lambda group: -group.mean)


def pair(runs: Iterable[RunRecord]) -> Pair | None:
    """Return the paired difference, if exactly two runs have a result, on the same images."""
    results = [run for run in runs if not math.isnan(run.miou)]
    if len(results) != 2:
        return None
    (better, first), (other, second) = ((run, run.evaluation) for run in results)
    if first is None or second is None or not first.same_images(second):
        return None
    return Pair(better, other, *paired_difference(first.counts, second.counts), len(first.ids))


def _ignored(key: str) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in IGNORED)


def _given(run: RunRecord) -> dict[str, str]:
    """Return a run's overrides by key; the last of one key wins."""
    pairs = (one.lstrip("+").partition("=") for one in run.overrides)
    return {key: value for key, _, value in pairs}
