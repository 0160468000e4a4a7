"""Plans the jobs of a sweep and their folders. Imports no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seglab.config.compose import compose
from seglab.errors import RunError, SeglabError
from seglab.run.identity import (
    code_digest,
    data_digests,
    describe_difference,
    result_settings,
    same_files,
    short_digest,
    weights_digest,
)
from seglab.run.paths import OVERRIDES
from seglab.run.provenance import version_change
from seglab.run.resume import is_trained
from seglab.run.settings import read_overrides, read_settings
from seglab.run.status import FINISHED, INTERRUPTED, NONE, PRUNED, STARTED, read_status, status
from seglab.schema import AUTO, LoggerConfig, TrainConfig

LOCK, TABLE, SLURM = ".lock", "sweep.csv", "slurm"
"""What a sweep's folder contains beside those of its jobs; submitit writes into the last."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        number: its index in the sweep, from 1.
        overrides: all its overrides of the command line.
        axes: the varied ones among them.
        folder: its run folder.
        config: its checked configuration; None if wrong, with the reason in ``error``.
        state: the status of the run already in its folder.
        notes: what has changed since then.
    """

    number: int
    overrides: tuple[str, ...]
    axes: tuple[str, ...]
    folder: Path
    config: TrainConfig | None = None
    error: str = ""
    state: str = NONE
    notes: tuple[str, ...] = ()

    @property
    def plan(self) -> str:
        """The planned action, in a word or two."""
        if self.config is None:
            return "is wrong"
        plans = {NONE: "start", FINISHED: "skip", INTERRUPTED: "continue", PRUNED: "continue"}
        return "is in use" if self.state == STARTED else f"would {plans.get(self.state, 'retry')}"


class Identities:
    """The digests of the jobs' data and weights, once for all jobs that read the same files."""

    def __init__(self) -> None:
        self.digests: dict[str, dict[str, str]] = {}

    def of(self, config: TrainConfig) -> dict[str, str]:
        """Return the digests of a job's data, of the weights that it starts from, and its own code.

        Raises:
            ConfigError, DataError, RunError: they cannot be used.
        """
        read = {key: value for key, value in vars(config.data).items() if key not in _LOADING}
        key = json.dumps(
            [config.model.task, config.model.weights, read], sort_keys=True, default=vars
        )
        if key not in self.digests:
            self.digests[key] = {**data_digests(config), **weights_digest(config)}
        return {**self.digests[key], **code_digest(config)}


_LOADING = (
    *("batch_size", "eval_batch_size", "num_workers", "crop_size", "scale", "flip", "photometric"),
)
"""Keys of data that say what is done with its samples."""


def plan(
    number: int,
    overrides: Sequence[str],
    sweep: Path,
    keys: Sequence[str],
    identities: Identities | None = None,
) -> Job:
    """Compose and check a job, and find its folder.

    The folder's name ends in a digest of what the result depends on. A job there of other data
    or weights is left alone, and this one gets a folder of its own, with a digest of them.

    Args:
        number: its index in the sweep, from 1.
        overrides: all its overrides of the command line.
        sweep: the folder of the sweep.
        keys: the varied keys.
        identities: of the files that other jobs of the sweep read.
    """
    axes = tuple(axis for axis in overrides if axis.split("=", 1)[0].lstrip("+~") in keys)
    try:
        composed = compose("train", TrainConfig, overrides)
    except SeglabError as error:
        folder = sweep / f"{readable(axes)}-{short_digest(sorted(overrides))}"
        return Job(number, tuple(overrides), axes, folder, error=str(error))
    digest = short_digest(result_settings(composed.plain))
    name = f"{readable(axes)}-{digest}"
    job_config = composed.config
    logger = job_config.logger
    if isinstance(logger, LoggerConfig):
        logger = replace(logger, group=logger.group or sweep.name)
    config = replace(job_config, resume=True, logger=logger)
    job = Job(number, tuple(overrides), axes, sweep / name, config)
    # Under other axes its name may have been another.
    candidates = sorted([*sweep.glob(f"*-{digest}"), *sweep.glob(f"*-{digest}-*")])
    try:
        job = _choose_folder(job, candidates, identities or Identities())
        job = replace(job, state=status(job.folder))
    except SeglabError as error:
        return Job(number, tuple(overrides), axes, job.folder, error=str(error))
    return replace(job, notes=(*job.notes, *changes(job, composed.plain, sweep)))


def _choose_folder(job: Job, candidates: Sequence[Path], identities: Identities) -> Job:
    """Choose the candidate folder with this job, or a new one if its files differ.

    Raises:
        SeglabError: the data set cannot be used, or a folder cannot be read.
    """
    assert job.config is not None
    others: dict[Path, Any] = {}
    for folder in candidates:
        recorded, state = read_status(folder).get("data"), status(folder)
        trained = is_trained(folder, state)
        if recorded is None and not trained:
            continue  # it ended before it read any data
        if same_files(recorded, identities.of(job.config)):
            return replace(job, folder=folder)
        if trained or state == STARTED:  # otherwise it has nothing to keep
            others[folder] = recorded
    if not others:
        return job
    digests = identities.of(job.config)
    other = job.folder if job.folder in others else next(iter(others))
    verb, here, there = describe_difference(job.config, others[other], digests)
    note = f"{here}; {other.name} was {verb} {there}, and is left alone"
    if job.folder in others:
        job = replace(
            job, folder=job.folder.with_name(f"{job.folder.name}-{short_digest(digests)}")
        )
    return replace(job, notes=(note,))


def readable(axes: Sequence[str]) -> str:
    """Return a readable folder name of the varied values, such as ``lr=0.1``, as a path."""
    parts = []
    for axis in axes:
        key, _, value = axis.partition("=")
        key = key.rsplit(".", 1)[-1].lstrip("+~")
        value = re.sub(r"[^A-Za-z0-9.+_-]+", "_", value).strip("_")
        parts.append(f"{key}_{value}")
    return "-".join(parts)[:100] or "run"


def changes(job: Job, plain: Mapping[str, Any], sweep: Path) -> list[str]:
    """Return what has changed since this job, or one of the same overrides, was finished here."""
    if job.config is not None and is_trained(job.folder, job.state):
        made = str(read_status(job.folder).get("code", ""))
        return version_change(made, finished=job.state == FINISHED)
    if job.state != NONE or job.notes:
        return []
    now = result_settings(plain)
    for folder in sorted(path.parents[1] for path in sweep.glob(f"*/{OVERRIDES}")):
        try:
            if tuple(read_overrides(folder)) != job.overrides:
                continue
            before = {k: v for k, v in read_settings(folder).items() if k in now}
        except (OSError, RunError):
            continue  # not the folder of this job
        # Recorded values that the machine or the data determined.
        settled = {"trainer.threads": None, "loss.class_weights": AUTO}
        before |= {key: value for key, value in settled.items() if now.get(key) == value}
        differ = [key for key in sorted(now) if before.get(key) != now[key]]
        told = ", ".join(f"{key}={before.get(key)}" for key in differ[:3])
        return [f"its configuration has changed: {folder} is of {told}"]
    return []
