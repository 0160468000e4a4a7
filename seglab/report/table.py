"""The comparison as a table: text for a terminal, all numbers for a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeVar

from seglab.metrics.counts import UNRELIABLE
from seglab.printing import printable, rounded
from seglab.report.comparison import Comparison, Pair
from seglab.report.effects import Effects
from seglab.report.importance import MISSING
from seglab.report.intervals import Interval
from seglab.report.record import RunRecord
from seglab.report.seeds import Repeat, SeedGroup
from seglab.report.settings import CHECKPOINT, identity, setting, short
from seglab.run.status import FINISHED, PRUNED
from seglab.runtime.spreadsheet import write_table

TABLE = "compare.csv"

NARROW, COLUMNS = 6, 3
"""How many settings a terminal shows for each run, and in columns; the page has all of them."""


def number(value: float) -> str:
    """Return a number with four decimals; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.4f}"


MASK_AP = "val/mask_AP50"
"""The column beside mIoU where a run finds objects."""


def object_metrics(comparison: Comparison) -> list[str]:
    """Return the metrics of objects that a table has a column for; none if no run finds any."""
    return [MASK_AP] if any(MASK_AP in run.metrics for run in comparison.runs) else []


def over_seeds(group: SeedGroup, name: str) -> str:
    """Return mean and standard deviation of a metric; a dash where a run lacks it."""
    by_seed = {run.settings.get("seed"): run.metrics.get(name, math.nan) for run in group.runs}
    values = [*by_seed.values()]
    if any(map(math.isnan, values)):
        return "-"
    return f"{mean(values):.4f} ± {stdev(values):.4f}"


def kind(run: RunRecord) -> str:
    """Return command and checkpoint of a result, unless it is from training."""
    known = identity(run).get(CHECKPOINT)
    return "" if run.kind == "train" else f"{run.kind} {known}" if known else run.kind


def between(interval: Interval) -> str:
    """Format an interval, starred if unreliable; a dash if there is none."""
    if math.isnan(interval.low):
        return "-"
    return f"{interval.low:.4f} to {interval.high:.4f}{' *' if interval.unreliable else ''}"


def score(run: RunRecord) -> str:
    """Return the mIoU of a finished run; otherwise its state, and the last mIoU if there is one."""
    if run.state == FINISHED:
        return number(run.miou)
    return run.state if math.isnan(run.last_miou) else f"{run.state} {run.last_miou:.4f}"


def run_name(run: RunRecord, width: int) -> str:
    """Return the name of a run for a column of a terminal; of a narrow one the end of it.

    In a sweep, a name starts with the settings, which have columns of their own.
    """
    if kind(run):
        return f"{run.name} ({kind(run)})"
    return run.name if len(run.name) <= max(16, width // 4) else f"…{run.name[-12:]}"


def what_differs(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells of the distinguishing settings: a column each if they are few.

    Otherwise they are one column of ``key=value`` lines.
    """
    keys = comparison.differing[: comparison.named or NARROW][:NARROW]
    if len(keys) <= COLUMNS:
        cells = [[rounded(setting(run, key)) for key in keys] for run in comparison.runs]
        return list(short(keys).values()), cells
    lines = [
        "\n".join(
            printable(f"{key}={rounded(setting(run, key))}") for key in keys if setting(run, key)
        )
        for run in comparison.runs
    ]
    return ["what differs"], [[line] for line in lines]


def lines(comparison: Comparison) -> Iterator[str]:
    """Yield the lines below the table of a comparison."""
    if comparison.groups:
        counted = all(group.counts for group in comparison.groups)
        over = "seeds and images" if counted else "seeds"
        yield f"means over seeds ± standard deviation, and 95 % interval over {over}:"
    for group in comparison.groups[:SHOWN]:
        yield (
            f"  {number(group.mean)} ± {number(group.deviation)}  {between(group.interval)}  "
            f"{group.seeds} seeds  {comparison.group_label(group)}"
        )
    yield from _more(comparison.groups)
    yield from map(repeated, comparison.repeats)
    if comparison.group_pairs:
        yield from _differences(comparison.group_pairs, comparison.group_label, "over seeds and")
    else:
        yield from _differences(comparison.pairs, comparison.run_label, "paired over")
    yield from _unpaired(comparison)
    if comparison.front is not None:
        yield f"Pareto front of {', '.join(comparison.front.objectives)}:"
        yield from (f"  {comparison.run_label(run)}" for run in comparison.front.runs)
    yield from what_mattered(comparison.effects)
    if comparison.unreliable:
        yield UNRELIABLE
    for run in comparison.runs:
        if run.state not in (FINISHED, PRUNED):
            yield f"{run.state}: {run.name}{f': {run.reason}' if run.reason else ''}"


SHOWN = 5
"""How many means and differences a terminal shows; the page has all of them."""


def _more(listed: Sequence[object]) -> Iterator[str]:
    if len(listed) > SHOWN:
        yield f"… and {len(listed) - SHOWN} more on the page"


T = TypeVar("T")


def _differences(pairs: Sequence[Pair[T]], name: Callable[[T], str], over: str) -> Iterator[str]:
    if not pairs:
        return
    corrected = " (intervals: Bonferroni; p: Holm)" if len(pairs) > 1 else ""
    yield f"{name(pairs[0].better)} minus others, {over} {pairs[0].images} images{corrected}:"
    for pair in pairs[:SHOWN]:
        low, high = (f"{end:+.4f}" for end in (pair.interval.low, pair.interval.high))
        yield (
            f"  {pair.difference:+.4f}  95 % {low} to {high}{' *' * pair.interval.unreliable}  "
            f"p {p_text(pair.p_value)}  {name(pair.other)}"
        )
    yield from _more(pairs)


def _unpaired(comparison: Comparison) -> Iterator[str]:
    """Yield why runs have no paired difference, and which are measured on a part of a split."""
    if part := [run.name for run in comparison.runs if run.partial and run.state == FINISHED]:
        yield f"measured on a part of the split (trainer.limit_val_batches): {_names(part)}"
    if comparison.unpaired:
        names = _names([run.name for run in comparison.unpaired])
        best = comparison.run_label(comparison.runs[0])
        yield f"no paired difference to {best}, on other images or with none recorded: {names}"


def _names(names: Sequence[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def p_text(p_value: float) -> str:
    """Return a p-value with two digits."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def what_mattered(effects: Effects | None) -> Iterator[str]:
    """Yield the share of the variance of each setting, and its marginal means."""
    if effects is None:
        return
    forest = any(not math.isnan(effect.fanova) for effect in effects.effects)
    yield f"what mattered, share of the variance of val/mIoU over {effects.runs} runs:"
    for effect in effects.effects:
        means = ", ".join(
            f"{level.text}: {number(level.mean)}"
            + ("" if math.isnan(level.low) else f" ± {(level.high - level.low) / 2:.4f}")
            for level in effect.levels[:LEVELS]
        )
        more = f", and {len(effect.levels) - LEVELS} more" if len(effect.levels) > LEVELS else ""
        fanova = f" (fANOVA {effect.fanova:.0%})" if forest else ""
        yield f"  {effect.share:4.0%}{fanova} {effect.key}  ({means}{more})"
    if not math.isnan(effects.seed):
        yield f"  {effects.seed:4.0%} within equal settings: the seed"
    if not forest:
        yield f"  ({MISSING})"


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
    head += ["last_mIoU", "pareto_front"]
    head += ["seeds", "seeds_mean_mIoU", "seeds_std_mIoU", "seeds_mIoU_low", "seeds_mIoU_high"]
    front = {id(run) for run in comparison.front.runs} if comparison.front else set()
    rows: list[list[Any]] = [[*head, *comparison.differing, *metrics]]
    for run, interval in zip(comparison.runs, comparison.intervals, strict=True):
        row: list[Any] = [run.name, run.folder, run.kind, run.state, run.reason]
        row += map(_plain, (run.miou, interval.low, interval.high, run.last_miou))
        row.append("yes" if id(run) in front else "")
        group = seeds.get(id(run))
        row += _seeds(group) if group else [""] * 5
        row += [setting(run, key) for key in comparison.differing]
        row += [_plain(run.metrics.get(name, math.nan)) for name in metrics]
        rows.append(row)
    write_table(path, rows)


def _seeds(group: SeedGroup) -> list[Any]:
    ends = map(_plain, (group.interval.low, group.interval.high))
    return [group.seeds, group.mean, group.deviation, *ends]


def _plain(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
