"""What mattered: the share of the variance of mIoU that each setting explains. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seglab.metrics.statistics import mean_interval, variance_shares
from seglab.report.importance import fanova
from seglab.report.record import RunRecord
from seglab.report.settings import setting

BINS = 4
"""Parts of equal size into which a number with many values, as in a search, is divided."""

FEWEST_RUNS = 4


@dataclass(frozen=True)
class Level:
    """The runs of one value of a setting, or of one range of values.

    Attributes:
        text: the value or the range.
        runs: how many there are.
        mean: of their mIoU.
        low: end of its 95 % interval (Student); NaN for a single run.
        high: the other end.
    """

    text: str
    runs: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """A setting, its share of the variance, and its marginal means.

    ``fanova`` is the share that Optuna's fANOVA gives it; NaN where that is not installed.
    """

    key: str
    share: float
    fanova: float
    levels: list[Level]


@dataclass(frozen=True)
class Effects:
    """The settings by their share, the largest first, and the share of the seed.

    Attributes:
        effects: of the settings.
        seed: the share within runs of equal settings; NaN if there are no two such runs.
        runs: how many runs were compared.
    """

    effects: list[Effect]
    seed: float
    runs: int


def effects(runs: Sequence[RunRecord], keys: Sequence[str]) -> Effects | None:
    """Return the effects of settings on the mIoU of finished runs; None if they are too few."""
    done = [run for run in runs if not math.isnan(run.miou)]
    values = [run.miou for run in done]
    texts = {key: [setting(run, key) for run in done] for key in keys}
    texts = {key: each for key, each in texts.items() if len({*each}) > 1}
    if len(done) < FEWEST_RUNS or not texts:
        return None
    levels = {key: _levels(each) for key, each in texts.items()}
    if len(done) <= 1 + sum(len({*each}) - 1 for each in levels.values()):
        return None  # as many unknowns as runs: everything would be explained
    cells = list(zip(*texts.values(), strict=True))
    shares, within = variance_shares(values, list(levels.values()), cells)
    forest = fanova(values, texts) if len({*values}) > 1 else {}
    repeated = len({*cells}) < len(done)
    found = [
        Effect(key, share, forest.get(key, math.nan), _means(values, levels[key]))
        for key, share in zip(levels, shares, strict=True)
    ]
    found.sort(key=lambda effect: -effect.share if effect.share == effect.share else 0)
    return Effects(found, within if repeated else math.nan, len(done))


def _levels(texts: Sequence[str]) -> list[str]:
    """Return the level of each run: its value, or for many numbers the range that it is in."""
    distinct = {*texts}
    if len(distinct) <= max(BINS, len(texts) // 3):
        return list(texts)
    try:
        numbers = np.array([float(text) for text in texts])
    except ValueError:
        return list(texts)
    edges = np.quantile(numbers, np.linspace(0, 1, BINS + 1))
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, BINS - 1)
    return [f"{edges[place]:.3g} to {edges[place + 1]:.3g}" for place in places]


def _means(values: Sequence[float], levels: Sequence[str]) -> list[Level]:
    groups: dict[str, list[float]] = {}
    for value, level in zip(values, levels, strict=True):
        groups.setdefault(level, []).append(value)
    return [
        Level(level, len(some), *mean_interval(some))
        for level, some in sorted(groups.items(), key=lambda item: _order(item[0]))
    ]


def _order(level: str) -> tuple[float, str]:
    try:
        return float(level.split(" to ")[0]), level
    except ValueError:
        return math.inf, level
