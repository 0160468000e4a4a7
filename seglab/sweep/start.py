"""A training run as one call, here or on each process of a run on several devices.

Imports no torch itself: where other processes train, this one does without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from seglab.errors import ProcessError
from seglab.run.folder import read_metrics
from seglab.run.resume import Start
from seglab.run.status import mark_failed
from seglab.runtime import launch
from seglab.runtime.rank import rank
from seglab.schema import TrainConfig


@dataclass(frozen=True)
class JobResult:
    """The result of a run.

    Attributes:
        folder: the run folder.
        metrics: those of ``metrics.json``, NaN for what does not exist.
        pictures: the prediction pictures.
        skipped: the run had finished before; nothing was touched.
    """

    folder: Path
    metrics: dict[str, float]
    pictures: list[Path]
    skipped: bool = False


def start_job(start: Start, overrides: Sequence[str] = (), *, quiet: bool = False) -> JobResult:
    """Call :func:`run_job` here, or on each process of a run on several devices.

    A finished run is left alone, before any process is started.

    Args:
        start: the checked run.
        overrides: the overrides of the command line, which are recorded.
        quiet: show nothing.

    Raises:
        SeglabError, KeyboardInterrupt: as :func:`run_job`; a process died.
    """
    folder, config = start.folder, start.config
    if start.done:
        return JobResult(folder, read_metrics(folder), [], skipped=True)
    try:
        result: JobResult = launch.run(
            run_job, config.trainer, config, folder, overrides, quiet=quiet
        )
    except ProcessError as error:
        if rank() == 0:
            mark_failed(folder, str(error))
        raise
    return result


def run_job(
    config: TrainConfig,
    folder: Path,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> JobResult:
    """Train one configuration in one run folder.

    Configuration and data are checked before the folder is made and before the first step.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
        KeyboardInterrupt: the run was interrupted, and its status says so.
    """
    from seglab.session import Session, fit

    metrics, pictures = fit(Session(config, "train", folder, overrides, console))
    return JobResult(folder, metrics, pictures)
