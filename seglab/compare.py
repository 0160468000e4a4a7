"""``seglab compare``: runs beside each other, as a table, a spreadsheet and a page."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seglab.errors import RunError
from seglab.report import PAGE, TABLE, build
from seglab.report.comparison import Comparison
from seglab.report.table import between, lines, number, what_differs
from seglab.run import FINISHED


def main(folders: list[str], output: str) -> Comparison:
    """Compare the runs in ``folders``, show the table, and write page and table to ``output``.

    Raises:
        ConfigError: a folder that is not there or holds no run.
        RunError: ``output`` cannot be written.
    """
    console = Console()
    try:
        comparison = build([Path(folder) for folder in folders], Path(output))
    except OSError as error:
        raise RunError(f"--output {output}: not writable: {error.strerror or error}") from None
    show(comparison, console)
    for name in (PAGE, TABLE):
        path = Path(output) / name
        console.print(f"{name:<18} {path}", highlight=False, soft_wrap=True, markup=False)
    return comparison


def show(comparison: Comparison, console: Console) -> None:
    """Print the table, the best run first, and what follows from it."""
    table = Table("run", "state", "val/mIoU", "95 % interval")
    table.columns[0].overflow = "fold"
    for column in (1, 2, 3):
        table.columns[column].no_wrap = True
    table.columns[2].justify = "right"
    differ = bool(comparison.differing)
    if differ:
        table.add_column("what differs", overflow="fold")
    for run, ends in zip(comparison.runs, comparison.intervals, strict=True):
        style = "" if run.state == FINISHED else "dim"
        cells = [run.name, run.state, number(run.miou), between(*ends)]
        cells += [what_differs(run, comparison)] if differ else []
        table.add_row(*(plain(cell) for cell in cells), style=style)
    console.print(table)
    for line in lines(comparison):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def plain(text: str) -> Text:
    """Return text as it is: a name with brackets is no style."""
    return Text(" ".join(text.split()))
