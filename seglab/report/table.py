"""The comparison as a table: text for a terminal, all numbers for a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seglab.metrics.counts import UNRELIABLE
from seglab.report.comparison import Comparison, Interval
from seglab.report.effects import Effects
from seglab.report.record import RunRecord
from seglab.report.seeds import Repeat
from seglab.report.settings import CHECKPOINT, identity, setting
from seglab.run.status import FINISHED
from seglab.runtime.spreadsheet import write_table

TABLE = "compare.csv"

NARROW = 6
"""How many settings a terminal's table shows for each run; page and spreadsheet have them all."""


def number(value: float) -> str:
    """Return a number with four decimals; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def kind(run: RunRecord) -> str:
    """Return command and checkpoint of a result, unless it is from training."""
    known = identity(run).get(CHECKPOINT)
    return "" if run.kind == "train" else f"{run.kind} {known}" if known else run.kind


def between(interval: Interval) -> str:
    """Format an interval, starred if unreliable; a dash if there is none."""
    if math.isnan(interval.low):
        return "-"
    return f"{interval.low:.4f} to {interval.high:.4f}{' *' if interval.unreliable else ''}"


def what_differs(run: RunRecord, comparison: Comparison) -> list[str]:
    """Return the distinguishing settings of a run, as ``key=value``."""
    keys = comparison.differing[:NARROW]
    shown = [f"{key}={setting(run, key)}" for key in keys if setting(run, key)]
    more = len(comparison.differing) - len(keys)
    return [*shown, f"and {more} more: {TABLE}"] if more else shown


def lines(comparison: Comparison) -> Iterator[str]:
    """Yield the lines below the table of a comparison."""
    for group in comparison.groups[:SHOWN]:
        yield (
            f"mean of {group.seeds} seeds {number(group.mean)} ± {number(group.deviation)} "
            f"(standard deviation): {', '.join(run.name for run in group.runs)}"
        )
    yield from _more(comparison.groups)
    yield from map(repeated, comparison.repeats)
    several = len(comparison.pairs) > 1
    for pair in comparison.pairs[:SHOWN]:
        low, high = (f"{end:+.4f}" for end in (pair.interval.low, pair.interval.high))
        corrected = ", Bonferroni" if several else ""
        yield (
            f"{pair.better.name} minus {pair.other.name}: {pair.difference:+.4f}, 95 % interval "
            f"{low} to {high}{' *' if pair.interval.unreliable else ''}{corrected}, "
            f"p {p_text(pair.p_value)}{' (Holm)' if several else ''}, "
            f"paired over {pair.images} images"
        )
    yield from _more(comparison.pairs)
    yield from what_mattered(comparison.effects)
    if comparison.unreliable:
        yield UNRELIABLE
    for run in comparison.runs:
        if run.state != FINISHED:
            yield f"{run.state}: {run.name}{f': {run.reason}' if run.reason else ''}"


SHOWN = 5
"""How many means and differences a terminal shows; the page has all of them."""


def _more(listed: Sequence[object]) -> Iterator[str]:
    if len(listed) > SHOWN:
        yield f"… and {len(listed) - SHOWN} more on the page"


def p_text(p_value: float) -> str:
    """Return a p-value with two digits."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def what_mattered(effects: Effects | None) -> Iterator[str]:
    """Yield the share of the variance of each setting, and its marginal means."""
    if effects is None:
        return
    yield f"what mattered, share of the variance of val/mIoU over {effects.runs} runs:"
    for effect in effects.effects:
        means = ", ".join(
            f"{level.text}: {number(level.mean)}"
            + ("" if math.isnan(level.low) else f" ± {(level.high - level.low) / 2:.4f}")
            for level in effect.levels[:LEVELS]
        )
        more = f", and {len(effect.levels) - LEVELS} more" if len(effect.levels) > LEVELS else ""
        yield f"  {effect.share:4.0%} {effect.key}  ({means}{more})"
    if not math.isnan(effects.seed):
        yield f"  {effects.seed:4.0%} within equal settings: the seed"


LEVELS = 6
"""How many values of a setting a terminal shows."""


def repeated(repeat: Repeat) -> str:
    """Describe runs without any difference."""
    count = {2: "twice"}.get(len(repeat.runs), f"{len(repeat.runs)} times")
    start = f"seed {repeat.seed} occurs {count}"
    if repeat.same:
        names = ", ".join(run.name for run in repeat.runs)
        return f"{start} with the same val/mIoU, and counts once: {names}"
    results = ", ".join(f"{run.name} {run.miou:.8f}" for run in repeat.runs)
    return f"{start} with different val/mIoU, and is not averaged: {results}"


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write one row per run: its status, all its metrics, the settings that differ."""
    metrics = list(dict.fromkeys(name for run in comparison.runs for name in run.metrics))
    seeds = {id(run): group for group in comparison.groups for run in group.runs}
    head = ["run", "folder", "kind", "state", "reason", "mIoU", "mIoU_low", "mIoU_high"]
    head += ["seeds", "seeds_mean_mIoU", "seeds_std_mIoU"]
    rows: list[list[Any]] = [[*head, *comparison.differing, *metrics]]
    for run, interval in zip(comparison.runs, comparison.intervals, strict=True):
        row: list[Any] = [run.name, run.folder, run.kind, run.state, run.reason]
        row += map(_plain, (run.miou, interval.low, interval.high))
        group = seeds.get(id(run))
        row += [group.seeds, group.mean, group.deviation] if group else ["", "", ""]
        row += [setting(run, key) for key in comparison.differing]
        row += [_plain(run.metrics.get(name, math.nan)) for name in metrics]
        rows.append(row)
    write_table(path, rows)


def _plain(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
