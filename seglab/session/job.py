"""A training run as one call, here or on each process of a run on several devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from seglab.errors import ProcessError
from seglab.run.folder import FINISHED, mark_failed, read_metrics
from seglab.run.settings import check_run, is_trained
from seglab.runtime import launch
from seglab.runtime.rank import check_environment
from seglab.schema import TrainConfig
from seglab.session.session import Session


@dataclass(frozen=True)
class JobResult:
    """What a run came to.

    Attributes:
        folder: the run folder.
        metrics: what ``metrics.json`` holds, NaN for what does not exist.
        pictures: the prediction pictures.
        skipped: the run had finished before; nothing was touched.
    """

    folder: Path
    metrics: dict[str, float]
    pictures: list[Path]
    skipped: bool = False


def start_job(
    config: TrainConfig, folder: Path, overrides: Sequence[str] = (), *, quiet: bool = False
) -> JobResult:
    """Call :func:`run_job` here, or on each process of a run on several devices.

    A finished run is left alone, before any process is started.

    Raises:
        SeglabError, KeyboardInterrupt: as :func:`run_job`; a process died.
    """
    check_environment()
    check = check_run(config, folder)
    if check.status == FINISHED:  # before there are ranks to agree on it
        return JobResult(folder, read_metrics(folder), [], skipped=True)
    if not is_trained(folder, check.status):
        config.model.check_weights_file()
    try:
        result: JobResult = launch.run(
            run_job, config.trainer, check.config, folder, overrides, quiet=quiet
        )
    except ProcessError as error:
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

    Everything that can be wrong with the configuration and the data is found before the folder
    is made and before the first step.

    Raises:
        SeglabError: says which key or file is wrong, and what would be right.
        KeyboardInterrupt: the run was interrupted, and is marked so.
    """
    metrics, pictures = Session(config, "train", folder, overrides, console).fit()
    return JobResult(folder, metrics, pictures)
