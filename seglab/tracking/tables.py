"""What a command prints at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table


def show_metrics(metrics: Mapping[str, float], console: Console) -> None:
    """Print the per-class IoU as a table, the other numbers, and the headline last."""
    table = Table("class", "IoU")
    table.columns[1].justify = "right"
    for name, value in metrics.items():
        if name.startswith("val/IoU/"):
            absent = value != value  # NaN: neither in the truth nor in the prediction
            table.add_row(name.removeprefix("val/IoU/"), "absent" if absent else f"{value:.4f}")
    console.print(table)
    for name in ("val/loss", "val/pixel_accuracy", "val/mean_accuracy", "val/fw_IoU"):
        if name in metrics:
            console.print(f"{name:<18} {metrics[name]:.4f}", highlight=False)
    interval = ""
    if "val/mIoU_low" in metrics:
        low, high = metrics["val/mIoU_low"], metrics["val/mIoU_high"]
        interval = f"   95 % interval over images {low:.4f} to {high:.4f}"
    headline = f"{'val/mIoU':<18} {metrics['val/mIoU']:.4f}"
    console.print(f"[bold]{headline}[/bold]{interval}", highlight=False)


def show_paths(folder: Path, pictures: Sequence[Path], console: Console) -> None:
    """Print where the results lie, one path a line so that it can be copied."""
    for name, path in [("run folder", folder), *(("picture", path) for path in pictures)]:
        console.print(f"{name:<18} {path}", highlight=False, soft_wrap=True, markup=False)
