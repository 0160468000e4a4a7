"""Runs that differ in their seed alone, and seeds that occur more than once. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from seglab.report.record import RunRecord
from seglab.report.settings import CHECKPOINT, TRAIN_DATA, VAL_DATA, identity
from seglab.run.identity import WEIGHTS, result_settings
from seglab.run.paths import BEST


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ only in their seed: mean and sample standard deviation of mIoU over seeds.

    ``runs`` has all of them; a seed that occurs more than once counts once in ``seeds``, ``mean``
    and ``deviation``.
    """

    runs: list[RunRecord]
    seeds: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class Repeat:
    """Runs that do not even differ in their seed; ``same`` if all have the same mIoU."""

    seed: Any
    runs: list[RunRecord]
    same: bool


def seed_groups(runs: Iterable[RunRecord]) -> tuple[list[SeedGroup], list[Repeat]]:
    """Return the finished runs that differ only in ``seed``, the best group first, and repeats.

    Where one seed has several results no mean is taken: it would depend on the choice of one.
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
            mious = [some[0].miou for some in by_seed.values()]
            alike_runs = [run for some in by_seed.values() for run in some]
            groups.append(SeedGroup(alike_runs, len(mious), fmean(mious), stdev(mious)))
    return sorted(groups, key=lambda group: -group.mean), repeats


def _all_but_the_seed(run: RunRecord) -> str | None:
    """Return what is equal in runs that differ in their seed alone; None where it is unknown."""
    if math.isnan(run.miou) or "seed" not in run.settings:
        return None
    known = identity(run)
    if run.kind == "evaluate" and TRAIN_DATA not in known:
        return None  # two such checkpoints may have been trained on anything
    settings = result_settings(run.settings)
    del settings["seed"]
    if weights := run.data.get(WEIGHTS) or run.trained_on.get(WEIGHTS):  # by content
        settings["model.weights"] = weights
    if run.mixed:  # trained on several numbers of devices, so with several batch sizes
        settings["folder"] = str(run.folder)
    data = [known.get(key) for key in (TRAIN_DATA, VAL_DATA, CHECKPOINT)]
    if run.checkpoint == BEST:  # each seed has its best epoch at a step of its own
        data[-1] = BEST
    if VAL_DATA not in known:  # by an older seglab: its folder is all that is known of it
        data.append(str(run.settings.get("data.root")))
    return json.dumps([run.kind, data, settings], sort_keys=True, default=str)
