"""The comparison as a table: of text for a terminal, of all numbers for a file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seglab.history import atomic
from seglab.report.comparison import Comparison, setting
from seglab.report.page import printable
from seglab.report.runs import RunRecord
from seglab.run import FINISHED

NARROW = 6
"""How many settings a terminal's table shows for each run; page and spreadsheet have them all."""


def number(value: float) -> str:
    """Return a number with four decimals; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def between(low: float, high: float) -> str:
    """Return an interval in words; a dash where there is none."""
    return "-" if math.isnan(low) else f"{low:.4f} to {high:.4f}"


def what_differs(run: RunRecord, comparison: Comparison) -> str:
    """Return the settings that tell a run from the others, a line ``key=value`` each."""
    keys = (comparison.differing[: comparison.named] or comparison.differing)[:NARROW]
    return "\n".join(f"{key}={setting(run, key)}" for key in keys if setting(run, key))


def lines(comparison: Comparison) -> Iterator[str]:
    """Yield what a comparison says besides its table, a sentence a line."""
    for group in comparison.groups:
        names = ", ".join(run.name for run in group.runs)
        yield (
            f"mean of {len(group.runs)} seeds {number(group.mean)} ± {number(group.deviation)} "
            f"(standard deviation): {names}"
        )
    if pair := comparison.pair:
        yield (
            f"{pair.better.name} minus {pair.other.name}: {pair.difference:+.4f}, 95 % interval "
            f"{pair.low:+.4f} to {pair.high:+.4f}, paired over {pair.images} images"
        )
    for run in comparison.runs:
        if run.state != FINISHED:
            yield f"{run.state}: {run.name}{f': {run.reason}' if run.reason else ''}"


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write a row for each run: what became of it, all its metrics, the settings that differ."""
    metrics = list(dict.fromkeys(name for run in comparison.runs for name in run.metrics))
    seeds = {id(run): group for group in comparison.groups for run in group.runs}
    with atomic(path) as file:
        writer = csv.writer(file)
        head = ["run", "folder", "kind", "state", "reason", "mIoU", "mIoU_low", "mIoU_high"]
        head += ["seeds", "seeds_mean_mIoU", "seeds_std_mIoU"]
        writer.writerow(map(printable, [*head, *comparison.differing, *metrics]))
        for run, (low, high) in zip(comparison.runs, comparison.intervals, strict=True):
            row: list[Any] = [run.name, run.folder, run.kind, run.state, run.reason]
            row += map(_plain, (run.miou, low, high))
            group = seeds.get(id(run))
            row += [len(group.runs), group.mean, group.deviation] if group else ["", "", ""]
            row += [setting(run, key) for key in comparison.differing]
            row += [_plain(run.metrics.get(name, math.nan)) for name in metrics]
            writer.writerow(printable(str(cell)) for cell in row)


def _plain(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
