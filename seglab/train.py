"""``seglab train``: one run from one line of configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from rich.console import Console

from seglab.config import compose
from seglab.run import FINISHED, INTERRUPTED, NONE, check_folder
from seglab.schema import TrainConfig
from seglab.sweep.command import sweep

if TYPE_CHECKING:
    from seglab.job import JobResult


def main(overrides: list[str], dry_run: bool = False, multirun: bool = False) -> JobResult | None:
    """Compose the configuration, train, and show what came of it; of each job under ``multirun``.

    Raises:
        SeglabError: says which key or file is wrong, and what would be right.
    """
    if multirun:
        sweep(overrides, dry_run)
        return None
    console = Console()
    composed = compose("train", TrainConfig, overrides)
    there = check_folder(composed.folder, composed.config.resume)
    from seglab.data.lists import check_training_lists  # numpy: not needed for a wrong key

    if composed.config.data.synth is None:  # the built-in data set is made when it is used
        check_training_lists(composed.config.data)
    if dry_run:
        would = {NONE: "would start", FINISHED: "has finished: would be left alone"}
        print(yaml.safe_dump(composed.plain, sort_keys=False, allow_unicode=True), end="")
        print(f"# {composed.folder}: {would.get(there, 'would go on from the last checkpoint')}")
        return None
    if there == INTERRUPTED:
        console.print(
            f"going on with {composed.folder}", highlight=False, soft_wrap=True, markup=False
        )
    # Here, because torch takes seconds to import, and a wrong key should be answered at once.
    from seglab.job import start_job
    from seglab.tracking.tables import show_metrics, show_paths

    result = start_job(composed.config, composed.folder, composed.overrides)
    if result.skipped:
        console.print(
            f"{result.folder}: finished before; nothing to do",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
    else:
        show_metrics(result.metrics, console)
        show_paths(result.folder, result.pictures, console)
    return result
