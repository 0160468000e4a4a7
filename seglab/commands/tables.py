"""The result of a command, as printed at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seglab.metrics.counts import UNRELIABLE
from seglab.printing import plain, print_plain, styled


def show_metrics(metrics: Mapping[str, float], console: Console, unreliable: bool = False) -> None:
    """Print the scores of each class as a table, the other numbers, and the headline last.

    Args:
        metrics: the content of ``metrics.json``.
        console: to print on.
        unreliable: mark the interval with a footnote; see :func:`seglab.metrics.counts.unreliable`.
    """
    columns = {"IoU": "val/IoU/"}
    if any(name.startswith("val/accuracy/") for name in metrics):
        columns["accuracy"] = "val/accuracy/"
    if "val/boundary_IoU" in metrics:
        columns["boundary IoU"] = "val/boundary_IoU/"
    if "val/mask_AP" in metrics:
        columns |= {"mask AP": "val/mask_AP/", "mask AP50": "val/mask_AP50/"}
    table = Table("class")
    for column in columns:
        table.add_column(column, justify="right")
    for name in metrics:
        if name.startswith("val/IoU/"):
            label = name.removeprefix("val/IoU/")
            values = [metrics.get(prefix + label) for prefix in columns.values()]
            table.add_row(*map(plain, [label, *map(_cell, values)]))
    console.print(table)
    others = ("val/loss", "val/pixel_accuracy", "val/mean_accuracy", "val/fw_IoU")
    shown = {*others, "val/mIoU", "val/mIoU_low", "val/mIoU_high"}
    further = [name for name in metrics if name.rpartition("/")[0] == "val" and name not in shown]
    for name in (*others, *further):
        if name in metrics:
            print_plain(f"{name:<18} {metrics[name]:.4f}", console)
    interval = ""
    if "val/mIoU_low" in metrics:
        low, high = metrics["val/mIoU_low"], metrics["val/mIoU_high"]
        interval = f"   95 % interval over images {low:.4f} to {high:.4f}"
        interval += " *" if unreliable else ""
    headline = f"{'val/mIoU':<18} {metrics['val/mIoU']:.4f}"
    console.print(styled((headline, "bold"), (interval, "")), soft_wrap=True)
    if unreliable and interval:
        print_plain(UNRELIABLE, console)


def _cell(value: float | None) -> str:
    """Format a number for the table; NaN means an absent class."""
    if value is None:
        return ""
    return "absent" if value != value else f"{value:.4f}"


def show_paths(folder: Path, pictures: Sequence[Path], console: Console) -> None:
    """Print the paths of the results, one per line so that they can be copied."""
    for name, path in [("run folder", folder), *(("picture", path) for path in pictures)]:
        print_plain(f"{name:<18} {path}", console)
