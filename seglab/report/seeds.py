"""Groups runs that differ only in their seed, and finds repeated seeds. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from seglab.metrics.counts import Counts, unreliable
from seglab.metrics.statistics import mean_interval, over_seeds_and_images
from seglab.report.intervals import Interval, same_images
from seglab.report.record import RunRecord
from seglab.report.settings import CHECKPOINT, CODE, TRAIN_DATA, VAL_DATA, identity
from seglab.run.identity import WEIGHTS, result_settings
from seglab.run.paths import BEST


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ only in their seed: mean and sample standard deviation of mIoU over seeds.

    A seed that occurs more than once counts once.

    Attributes:
        runs: all of them.
        seeds: how many there are.
        mean: of mIoU.
        deviation: of mIoU.
        counts: of each seed, if all are of the same images; otherwise empty.
        interval: of the mean, over seeds and images; over seeds alone without counts.
    """

    runs: list[RunRecord]
    seeds: int
    mean: float
    deviation: float
    counts: list[Counts]
    interval: Interval


@dataclass(frozen=True)
class Repeat:
    """Runs with equal settings and seed; ``same`` if all have the same mIoU."""

    seed: Any
    runs: list[RunRecord]
    same: bool


def seed_groups(runs: Iterable[RunRecord]) -> tuple[list[SeedGroup], list[Repeat]]:
    """Return the finished runs that differ only in ``seed``, the best group first, and repeats.

    If a seed has several different results, no mean is computed: it would depend on the choice.
    """
    alike: dict[str, dict[str, list[RunRecord]]] = {}
    for run in runs:
        if (same := _all_but_the_seed(run)) is not None:
            seed = json.dumps(run.settings["seed"], default=str)
            alike.setdefault(same, {}).setdefault(seed, []).append(run)
    groups, repeats = [], []
    for by_seed in alike.values():
        repeated = [
            Repeat(some[0].settings["seed"], some, len({run.miou for run in some}) == 1)
            for some in by_seed.values()
            if len(some) > 1
        ]
        repeats += repeated
        if len(by_seed) > 1 and all(repeat.same for repeat in repeated):
            alike_runs = [run for some in by_seed.values() for run in some]
            groups.append(_group(alike_runs, [some[0] for some in by_seed.values()]))
    return sorted(groups, key=lambda group: -group.mean), repeats


def _group(runs: list[RunRecord], ones: list[RunRecord]) -> SeedGroup:
    mious, counts = [run.miou for run in ones], same_images(ones)
    _, low, high = over_seeds_and_images(counts)[:3] if counts else mean_interval(mious)
    interval = Interval(low, high, any(map(unreliable, counts)))
    return SeedGroup(runs, len(ones), fmean(mious), stdev(mious), counts, interval)


ROUNDING = ("trainer.threads", "trainer.accelerator")
"""Settings that change the last bits of a result, and no expectation of it."""

VALIDATIONS = "trainer.check_val_every_n_epoch"
"""Of no effect on the last weights, unless a callback acts on a validation."""


def _is_watched(run: RunRecord) -> bool:
    """Return whether a callback, such as early stopping, may act on a validation."""
    targets = {
        str(value)
        for key, value in run.settings.items()
        if key.startswith("callbacks.") and key.endswith("._target_")
    }
    return bool(targets - {"seglab.callbacks.EMA"}) or run.checkpoint == BEST


def _all_but_the_seed(run: RunRecord) -> str | None:
    """Return the settings and data without the seed, as a grouping key; None if unknown."""
    if math.isnan(run.miou) or "seed" not in run.settings:
        return None
    known = identity(run)
    if run.kind == "evaluate" and TRAIN_DATA not in known:
        return None  # the training data of such checkpoints is unknown
    settings = result_settings(run.settings)
    for key in ("seed", *ROUNDING, *([] if _is_watched(run) else [VALIDATIONS])):
        settings.pop(key, None)
    if weights := run.data.get(WEIGHTS) or run.trained_on.get(WEIGHTS):  # by content
        settings["model.weights"] = weights
    if run.mixed:  # trained with several batch sizes or codes
        settings["folder"] = str(run.folder)
    data = [known.get(key) for key in (TRAIN_DATA, VAL_DATA, CODE, CHECKPOINT)]
    if run.checkpoint == BEST:  # the best epoch is at a different step for each seed
        data[-1] = BEST
    if VAL_DATA not in known:  # not recorded: only its folder is known
        data.append(str(run.settings.get("data.root")))
    return json.dumps([run.kind, data, settings], sort_keys=True, default=str)
