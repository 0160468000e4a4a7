"""Progress bars on a terminal, also for the pass over a data set. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from seglab.printing import print_plain, printable


def progress_bar(console: Console) -> Progress:
    """Return a progress bar with counts, elapsed and remaining time; it vanishes when done."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class CheckProgress:
    """Shows the progress of the pass over a data set; see ``seglab.data.prefetch.Progress``."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, items: Iterable[Any], total: int, text: str) -> Iterable[Any]:
        """Yield ``items``, showing a bar on a terminal, and one line when the pass is over."""
        start = time.perf_counter()
        with progress_bar(self.console) as progress:
            task = progress.add_task(printable(text), total=total, numbers="")
            for item in items:
                yield item
                progress.advance(task)
        seconds = time.perf_counter() - start
        print_plain(f"{text}: {total} samples, {seconds:.1f} s", self.console)
