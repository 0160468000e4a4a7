"""Which jobs a sweep has, and where each belongs. Knows no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from seglab.code import version
from seglab.config import compose
from seglab.errors import SeglabError
from seglab.run import FINISHED, INTERRUPTED, NONE, STARTED, status
from seglab.schema import Mark, TrainConfig, has_mark
from seglab.settings import flatten


@dataclass
class Job:
    """One run of a sweep.

    Attributes:
        number: its place in the sweep, from 1.
        overrides: all that the command line says of it.
        axes: those of them that tell it from the others.
        folder: its run folder.
        config: its checked configuration; None if it is wrong, and ``error`` says how.
        there: the status of the run that its folder holds already.
        notes: what has changed since then.
    """

    number: int
    overrides: tuple[str, ...]
    axes: tuple[str, ...]
    folder: Path
    config: TrainConfig | None = None
    error: str = ""
    there: str = NONE
    notes: list[str] = field(default_factory=list)

    @property
    def plan(self) -> str:
        """What is to be done, in a word or two."""
        if self.config is None:
            return "is wrong"
        plans = {NONE: "start", FINISHED: "skip", INTERRUPTED: "continue"}
        return "is in use" if self.there == STARTED else f"would {plans.get(self.there, 'retry')}"


def plan(number: int, overrides: Sequence[str], sweep: Path, keys: Sequence[str]) -> Job:
    """Compose and check a job, and find its folder.

    Args:
        number: its place in the sweep, from 1.
        overrides: all that the command line says of it.
        sweep: the folder of the sweep.
        keys: what is varied.
    """
    axes = tuple(one for one in overrides if one.split("=", 1)[0].lstrip("+~") in keys)
    try:
        composed = compose("train", TrainConfig, overrides)
    except SeglabError as error:
        folder = sweep / f"{readable(axes)}-{digest(sorted(overrides))}"
        return Job(number, tuple(overrides), axes, folder, error=str(error))
    mark = digest(task_of(composed.plain))
    found = sorted(sweep.glob(f"*-{mark}"))  # under other axes its name may have been another
    folder = found[0] if found else sweep / f"{readable(axes)}-{mark}"
    job = Job(number, tuple(overrides), axes, folder, composed.config, there=status(folder))
    composed.config.resume = True
    composed.config.logger.group = composed.config.logger.group or sweep.name
    job.notes += changes(job, composed.plain, sweep)
    return job


def task_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result depends on: the settings but for those without effect."""
    flat = flatten(config)
    return {key: value for key, value in flat if not has_mark(key, Mark.NO_EFFECT)}


def digest(value: Any) -> str:
    """Return eight digits that stand for plain data."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def readable(axes: Sequence[str]) -> str:
    """Return a folder's name that says what is varied: ``lr=0.1``, ``model=fcn8s`` -> a path."""
    parts = []
    for axis in axes:
        key, _, value = axis.partition("=")
        key = key.rsplit(".", 1)[-1].lstrip("+~")
        value = re.sub(r"[^A-Za-z0-9.+_-]+", "_", value).strip("_")
        parts.append(f"{key}_{value}")
    return "-".join(parts)[:100] or "run"


def changes(job: Job, plain: Mapping[str, Any], sweep: Path) -> list[str]:
    """Say what has changed since this job, or one of the same overrides, was finished here."""
    if job.there == FINISHED:
        made = json.loads((job.folder / "status.json").read_text(encoding="utf-8")).get("code", "")
        if made != version():
            return [f"finished by other code, {made}, and left alone; this is {version()}"]
    if job.there != NONE:
        return []
    for given in sorted(sweep.glob("*/.hydra/overrides.yaml")):  # written after config.yaml
        if tuple(yaml.safe_load(given.read_text(encoding="utf-8"))) == job.overrides:
            config = given.with_name("config.yaml")
            before = task_of(yaml.safe_load(config.read_text(encoding="utf-8")))
            now = task_of(plain)
            if now.get("trainer.threads") is None:  # what was recorded was settled by the machine
                before["trainer.threads"] = None
            differ = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
            told = ", ".join(f"{key}={before.get(key)}" for key in differ[:3])
            return [f"its configuration has changed: {config.parents[1]} is of {told}"]
    return []
