"""``seglab data stats``: what a data set contains, as a table and a page."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from seglab.data.layouts.opening import check_lists, open_files
from seglab.data.stats import SplitStats, equal_images, read_stats
from seglab.errors import ConfigError, DataError
from seglab.printing import plain, print_plain
from seglab.runtime.files import atomic
from seglab.runtime.progress_bar import CheckProgress
from seglab.schema import DataCommandConfig

SHOWN = 5
"""Lines of each kind of trouble; the page has more."""


def stats(config: DataCommandConfig, console: Console) -> None:
    """Count pixels, objects and values of both splits; print a table and write a page.

    Raises:
        ConfigError: ``output`` cannot be written, or a key is wrong.
        DataError: neither split can be opened.
    """
    from seglab.report.dataset import render

    data = config.data
    splits: list[SplitStats] = []
    names = dict.fromkeys(data.split_name(name) for name in ("train", "val"))
    for name in names:
        try:
            check_lists(data, name)
            files = open_files(data, name, missing_ok=True)
        except DataError as error:
            if name == [*names][-1] and not splits:
                raise
            print_plain(f"no {name}: {error}", console)
            continue
        splits.append(read_stats(files, CheckProgress(console)))
    show(splits, console)
    path = Path(config.output or f"stats_{data.name}.html")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as file:
            file.write(render(data.name, splits))
    except OSError as error:
        raise ConfigError(f"output={path}: cannot be written: {error.strerror}") from None
    print_plain(f"{'page':<18} {path}", console)


def show(splits: list[SplitStats], console: Console) -> None:
    """Print a table of the classes, and lines about everything else."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("class", overflow="fold")
    table.add_column("weight", justify="right")
    for split in splits:
        for head in ("pixels", "images", *(["objects"] if split.has_objects else [])):
            title = f"{split.files.split}\n" if head == "pixels" else "\n"
            table.add_column(plain(title + head), justify="right")
    for label, name in enumerate(splits[0].files.classes):
        row = [name, f"{splits[0].weights[label]:.2f}"]
        for split in splits:
            pixels = split.pixels
            row.append(f"{pixels[:, label].sum() / max(1, pixels.sum()):.2%}")
            row.append(str((pixels[:, label] > 0).sum()))
            row += [str(split.objects[:, label].sum())] if split.has_objects else []
        table.add_row(*map(plain, row))
    console.print(table)
    print_plain("weight: what loss.class_weights=auto gives each class", console)
    for split in splits:
        name, sizes = split.files.split, split.sizes.most_common()
        listed = ", ".join(f"{size} ({count})" for size, count in sizes[:SHOWN])
        more = f", and {len(sizes) - SHOWN} more" if len(sizes) > SHOWN else ""
        console.print(plain(f"{name}: {len(split.samples)} images; {listed}{more}"))
        values = [value for value, meaning, *_ in split.values() if meaning is not None]
        console.print(plain(f"{name}: values in masks: {', '.join(values)}"))
        for value, meaning, count, images in split.values():
            if meaning is None:
                text = f"{name}: value {value} fits no class: {count} pixels of {images} images"
                print_plain(text, console)
    pairs = equal_images(splits)
    troubles = [
        ("equal images", [f"{one} = {other}" for one, other in pairs]),
        ("problems", [line for split in splits for line in split.problems]),
    ]
    for title, lines in troubles:
        for line in lines[:SHOWN]:
            print_plain(f"{title}: {line}", console)
        if len(lines) > SHOWN:
            print_plain(f"{title}: {len(lines) - SHOWN} more", console)
