"""``seglab compare``: a table, a spreadsheet and a page of several runs."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seglab.errors import RunError
from seglab.printing import plain, print_plain, printable, printable_lines
from seglab.report import PAGE, build
from seglab.report.comparison import Comparison, compare
from seglab.report.formats import FORMATS
from seglab.report.runs import read_runs
from seglab.report.table import (
    TABLE,
    between,
    lines,
    number,
    object_metrics,
    run_name,
    score,
    what_differs,
)
from seglab.run.status import FINISHED


def main(folders: list[str], output: str, format: str | None = None) -> Comparison:
    """Compare the runs in ``folders``, show the table, and write page and table to ``output``.

    With a format, print only that.

    Raises:
        ConfigError: a folder that does not exist or contains no run.
        RunError: ``output`` cannot be written.
    """
    if format is not None:
        comparison = compare(read_runs([Path(folder) for folder in folders]))
        print(printable_lines(FORMATS[format](comparison)))
        return comparison
    console = Console()
    try:
        comparison = build([Path(folder) for folder in folders], Path(output))
    except OSError as error:
        raise RunError(f"--output {output}: not writable: {error.strerror or error}") from None
    show(comparison, console)
    for name in (PAGE, TABLE):
        print_plain(f"{name:<18} {Path(output) / name}", console)
    return comparison


def show(comparison: Comparison, console: Console) -> None:
    """Print the table, the best run first, and the statistics below it."""
    table = Table()
    heads, settings = what_differs(comparison)
    for head in heads:
        table.add_column(printable(head), overflow="fold")
    objects = object_metrics(comparison)
    for head in [*objects, "val/mIoU"]:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("run", overflow="fold")
    rows = zip(comparison.runs, comparison.intervals, settings, strict=True)
    for run, interval, values in rows:
        name = run_name(run, console.width)
        precisions = [number(run.metrics.get(metric, math.nan)) for metric in objects]
        cells = [*values, *precisions, score(run), between(interval), name]
        table.add_row(*map(plain, cells), style="" if run.state == FINISHED else "dim")
    console.print(table)
    for line in lines(comparison):
        print_plain(line, console)
