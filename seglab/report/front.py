"""The Pareto front of a search with several objectives. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seglab.report.record import RunRecord


@dataclass(frozen=True)
class Front:
    """The runs that no other run beats in one objective without losing in another.

    Attributes:
        objectives: the metrics, with their directions, ``maximize`` or ``minimize``.
        runs: the front, in the order of the comparison.
    """

    objectives: dict[str, str]
    runs: list[RunRecord]


def pareto_front(runs: Sequence[RunRecord]) -> Front | None:
    """Return the front of finished runs; None unless the trials share two objectives or more."""
    found = [run.objectives for run in runs if run.objectives]
    if not found or len(found[0]) < 2 or any(other != found[0] for other in found):
        return None
    signs = {name: -1 if way == "minimize" else 1 for name, way in found[0].items()}
    points = [
        (run, [sign * run.metrics.get(name, math.nan) for name, sign in signs.items()])
        for run in runs
        if not math.isnan(run.miou)
    ]
    points = [(run, point) for run, point in points if not any(map(math.isnan, point))]
    best = [run for run, point in points if not any(dominates(other, point) for _, other in points)]
    return Front(found[0], best)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether ``one`` is nowhere smaller than ``other``, and greater somewhere."""
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
