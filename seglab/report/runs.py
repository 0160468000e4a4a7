"""Finds run folders and reads them; what cannot be read is said, never left out. Knows no torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from seglab.errors import ConfigError, RunError
from seglab.report.curves import Curves, read_curves
from seglab.runs.evaluation import KeptEvaluation, read_evaluation
from seglab.runs.received import read_json, read_yaml
from seglab.runs.run import FINISHED, read_metrics, status
from seglab.runs.settings import WEIGHTS, read_settings
from seglab.runtime.links import refuse_links

UNREADABLE = "unreadable"


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
        step: that of this checkpoint; None where it is not known.
        weights: what tells ``model.weights`` from those of the other runs; empty without.
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
    step: int | None = None
    weights: str = ""
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
    runs = [
        RunRecord(folder, name, reason=reason) if reason else read_run(folder, name)
        for (folder, reason), name in zip(found.items(), names(list(found)), strict=True)
    ]
    name_weights(runs)
    return runs


def _place(path: Path) -> Path:
    """Return the one path of a run folder; of a link, where the link itself is."""
    return path.parent.resolve() / path.name if path.is_symlink() else path.resolve()


def name_weights(runs: Sequence[RunRecord]) -> None:
    """Name the weights that runs start from: by as much of the path as tells them apart.

    Equal content is one thing whatever its path; what is not known to be equal is told apart by its
    path, and other content under the same path by its digest.
    """
    paths: dict[str, str] = {}
    given = [run for run in runs if isinstance(run.settings.get("model.weights"), str)]
    for run in given:
        path = run.settings["model.weights"]
        paths.setdefault(run.data.get(WEIGHTS, path), path)
    for run in given:
        path = run.settings["model.weights"]
        mine = run.data.get(WEIGHTS, path)
        parts = PurePath(paths[mine]).parts
        others = [PurePath(other).parts for key, other in paths.items() if key != mine]
        length = 1
        while length < len(parts) and parts[-length:] in [one[-length:] for one in others]:
            length += 1
        run.weights = str(PurePath(*parts[-length:]))
        if parts[-length:] in [one[-length:] for one in others] and WEIGHTS in run.data:
            run.weights += f" {mine[:8]}…"


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
    said = read_json(run.folder / "status.json")
    run.started, run.ended = str(said.get("started", "")), str(said.get("ended", ""))
    run.reason = str(said.get("error", ""))
    checkpoint = said.get("checkpoint") or {}
    run.data = _texts(said.get("data"))
    run.checkpoint = str(checkpoint.get("name", ""))
    step = checkpoint.get("step")
    run.step = step if isinstance(step, int) else None
    run.trained_on = _texts(checkpoint.get("data"))
    try:
        run.state = status(run.folder)
    except OSError:  # a folder of somebody else's, whose lock cannot be tried
        run.state = str(said["status"])


def _texts(values: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (values or {}).items()}


def _settings(run: RunRecord) -> None:
    run.settings = read_settings(run.folder)
    overrides = run.folder / ".hydra" / "overrides.yaml"
    if overrides.is_file():
        run.overrides = [str(one) for one in read_yaml(overrides) or []]


def _metrics(run: RunRecord) -> None:
    metrics = read_metrics(run.folder)
    if not metrics and run.state == FINISHED:
        raise ValueError("missing or empty")
    miou = metrics.get("val/mIoU", math.nan)
    if not (math.isnan(miou) or 0 <= miou <= 1):
        raise ValueError(f"val/mIoU is {miou}")
    run.metrics = metrics


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
