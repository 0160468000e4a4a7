"""Finds run folders and reads them; what cannot be read is said, never left out. Knows no torch."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seglab.errors import ConfigError, RunError
from seglab.report.curves import Curves, read_curves
from seglab.runs.evaluation import KeptEvaluation, read_evaluation
from seglab.runs.run import FINISHED, status
from seglab.runtime.links import refuse_links

UNREADABLE = "unreadable"

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times as fast


@dataclass
class RunRecord:
    """What a run folder says.

    Attributes:
        folder: where it lies.
        name: what tells it from the others, from its path.
        state: finished, interrupted, failed, started (still at work) or unreadable.
        reason: why it failed, or what of it cannot be read; empty otherwise.
        started, ended: ISO times; empty where unknown.
        settings: the resolved configuration under dotted names.
        overrides: those of the command line.
        metrics: what ``metrics.json`` holds, NaN for null.
        curves: the history that a page draws.
        evaluation: the counts of its last evaluation, if it kept them.
        data: the digest of the data of each split that it used, ``train`` and ``val``.
        checkpoint: the file name of the checkpoint that an evaluation measured.
        trained_on: the digests of the data that this checkpoint was trained on.
    """

    folder: Path
    name: str
    state: str = UNREADABLE
    reason: str = ""
    started: str = ""
    ended: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    evaluation: KeptEvaluation | None = None
    data: dict[str, str] = field(default_factory=dict)
    checkpoint: str = ""
    trained_on: dict[str, str] = field(default_factory=dict)

    @property
    def miou(self) -> float:
        """The headline of a finished run; NaN for all others."""
        return self.metrics.get("val/mIoU", math.nan) if self.state == FINISHED else math.nan

    @property
    def kind(self) -> str:
        """The command that made it: train, evaluate or score."""
        made = {"checkpoint": "evaluate", "predictions": "score"}
        return next((command for key, command in made.items() if key in self.settings), "train")


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Read every run in ``folders``: runs, sweeps, or folders of them.

    What lies inside a run, such as an evaluation of it, is read when it is named itself.

    Raises:
        ConfigError: no such folder, or no run in it.
    """
    found: dict[Path, str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(
                f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}"
            )
        here = dict(find_runs(folder))
        if not here:
            raise ConfigError(
                f"{folder}: no run in it; give run folders (they hold status.json), sweeps, or "
                "folders of them"
            )
        found |= {_place(path): reason for path, reason in here.items()}
    return [
        RunRecord(folder, name, reason=reason) if reason else read_run(folder, name)
        for (folder, reason), name in zip(found.items(), names(list(found)), strict=True)
    ]


def _place(path: Path) -> Path:
    """Return the one path of a run folder; of a link, where the link itself is."""
    return path.parent.resolve() / path.name if path.is_symlink() else path.resolve()


def find_runs(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the run folders at and below ``folder``, and why one cannot be looked into.

    ``folder`` may be a link; below it none is followed.
    """
    closed: list[OSError] = []
    for here, below, files in os.walk(folder, onerror=closed.append):
        if {"status.json", "metrics.json", "metrics.csv"} & {*files} or ".hydra" in below:
            yield Path(here), ""
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))
        for path in (Path(here, name) for name in below):
            if path.is_symlink():
                yield path, "a link, which is not followed; give the folder that it leads to"
    for error in closed:
        yield Path(error.filename), f"cannot be read: {error.strerror or error}"


def names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest paths that tell folders apart."""
    shared = os.path.commonpath([folder.parent for folder in folders])
    return [folder.relative_to(shared).as_posix() for folder in folders]


def read_run(folder: Path, name: str) -> RunRecord:
    """Read one run folder; what cannot be read makes it unreadable, with the reason.

    A folder with a link in it is not read at all: :mod:`seglab.runtime.links`.
    """
    run = RunRecord(folder, name)
    try:
        refuse_links(folder)
    except RunError as error:
        run.reason = str(error)
        return run
    problems: list[str] = []
    for read in (_status, _settings, _metrics, _history, _evaluation):
        try:
            read(run)
        except RunError as error:
            problems.append(str(error))
        except Exception as error:  # of many kinds: files that are not what we write
            problems.append(
                f"{_FILES[read]}: {' '.join(str(error).split()) or type(error).__name__}"
            )
    if problems:
        run.state, run.reason = UNREADABLE, "; ".join(problems)
    return run


def _status(run: RunRecord) -> None:
    said = json.loads((run.folder / "status.json").read_text(encoding="utf-8"))
    run.started, run.ended = str(said.get("started", "")), str(said.get("ended", ""))
    run.reason = str(said.get("error", ""))
    checkpoint = said.get("checkpoint") or {}
    run.data = _texts(said.get("data"))
    run.checkpoint = str(checkpoint.get("name", ""))
    run.trained_on = _texts(checkpoint.get("data"))
    try:
        run.state = status(run.folder)
    except OSError:  # a folder of somebody else's, whose lock cannot be tried
        run.state = str(said["status"])


def _texts(values: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (values or {}).items()}


def _settings(run: RunRecord) -> None:
    text = (run.folder / ".hydra" / "config.yaml").read_text(encoding="utf-8")
    run.settings = dict(flat(_plain(text)))
    overrides = run.folder / ".hydra" / "overrides.yaml"
    if overrides.is_file():
        given = _plain(overrides.read_text(encoding="utf-8"))
        run.overrides = [str(one) for one in given or []]


def _plain(text: str) -> Any:
    """Load YAML without aliases, of which a few lines may stand for more than memory holds."""
    if "*" in text and any(
        isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader)
    ):
        raise ValueError("holds aliases, which a configuration has none of")
    return yaml.load(text, Loader)


def _metrics(run: RunRecord) -> None:
    path = run.folder / "metrics.json"
    if path.is_file() or run.state == FINISHED:
        found = json.loads(path.read_text(encoding="utf-8"))
        run.metrics = {
            str(name): math.nan if value is None else float(value) for name, value in found.items()
        }
        for name, value in run.metrics.items():
            if math.isinf(value) or (
                name == "val/mIoU" and not (math.isnan(value) or 0 <= value <= 1)
            ):
                raise ValueError(f"{name} is {value}")


def _history(run: RunRecord) -> None:
    run.curves = read_curves(run.folder / "metrics.csv")


def _evaluation(run: RunRecord) -> None:
    run.evaluation = read_evaluation(run.folder)


_FILES = {
    _status: "status.json",
    _settings: ".hydra/config.yaml",
    _metrics: "metrics.json",
    _history: "metrics.csv",
    _evaluation: "evaluation.npz",
}
"""Which file a reader reads, for its error."""


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of a configuration; lists stay whole."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
