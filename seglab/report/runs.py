"""Finds run folders and reads them; what cannot be read is said, never left out. Knows no torch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from seglab.errors import ConfigError, RunError
from seglab.report.curves import Curves, read_curves
from seglab.run.evaluation import KeptEvaluation, read_evaluation
from seglab.run.folder import FINISHED, read_metrics, status
from seglab.run.received import read_json, read_yaml
from seglab.run.settings import WEIGHTS, read_settings
from seglab.runtime.links import refuse_links

UNREADABLE = "unreadable"


@dataclass(frozen=True)
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
        mixed: whether it was resumed on another number of devices.
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
    mixed: bool = False

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
    return name_weights(runs)


def _place(path: Path) -> Path:
    """Return the one path of a run folder; of a link, where the link itself is."""
    return path.parent.resolve() / path.name if path.is_symlink() else path.resolve()


def name_weights(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Name the weights that runs start from: by as much of the path as tells them apart.

    Equal content is one thing whatever its path; what is not known to be equal is told apart by its
    path, and other content under the same path by its digest.
    """
    paths: dict[str, str] = {}
    for run in runs:
        if path := _weights_path(run):
            paths.setdefault(run.data.get(WEIGHTS, path), path)
    return [
        replace(run, weights=_weights_name(run, path, paths))
        if (path := _weights_path(run))
        else run
        for run in runs
    ]


def _weights_path(run: RunRecord) -> str:
    path = run.settings.get("model.weights")
    return path if isinstance(path, str) else ""


def _weights_name(run: RunRecord, path: str, paths: Mapping[str, str]) -> str:
    mine = run.data.get(WEIGHTS, path)
    parts = PurePath(paths[mine]).parts
    others = [PurePath(other).parts for key, other in paths.items() if key != mine]
    length = 1
    while length < len(parts) and parts[-length:] in [one[-length:] for one in others]:
        length += 1
    name = str(PurePath(*parts[-length:]))
    alike = parts[-length:] in [one[-length:] for one in others]
    return f"{name} {mine[:8]}…" if alike and WEIGHTS in run.data else name


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
    try:
        refuse_links(folder)
    except RunError as error:
        return RunRecord(folder, name, reason=str(error))
    fields: dict[str, Any] = {}
    problems: list[str] = []
    for file, read in _READERS.items():
        try:
            for field_name, value in read(folder, fields):  # keeps those before an error
                fields[field_name] = value
        except RunError as error:
            problems.append(str(error))
        except Exception as error:  # of many kinds: files that are not what we write
            problems.append(f"{file}: {' '.join(str(error).split()) or type(error).__name__}")
    if problems:
        fields |= {"state": UNREADABLE, "reason": "; ".join(problems)}
    return RunRecord(folder, name, **fields)


Fields = Iterator[tuple[str, Any]]
"""Fields of a record and their values."""


def _status(folder: Path, fields: Mapping[str, Any]) -> Fields:
    entry = read_json(folder / "status.json")
    yield "started", str(entry.get("started", ""))
    yield "ended", str(entry.get("ended", ""))
    yield "reason", str(entry.get("error", ""))
    checkpoint = entry.get("checkpoint") or {}
    yield "data", _texts(entry.get("data"))
    yield "checkpoint", str(checkpoint.get("name", ""))
    step = checkpoint.get("step")
    yield "step", step if isinstance(step, int) else None
    yield "trained_on", _texts(checkpoint.get("data"))
    starts = entry.get("history") or []
    yield "mixed", len({str(start.get("trainer.devices")) for start in starts}) > 1
    try:
        state = status(folder)
    except OSError:  # a folder of somebody else's, whose lock cannot be tried
        state = str(entry["status"])
    yield "state", state


def _texts(values: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (values or {}).items()}


def _settings(folder: Path, fields: Mapping[str, Any]) -> Fields:
    yield "settings", read_settings(folder)


def _overrides(folder: Path, fields: Mapping[str, Any]) -> Fields:
    path = folder / ".hydra" / "overrides.yaml"
    if path.is_file():
        yield "overrides", [str(override) for override in read_yaml(path) or []]


def _metrics(folder: Path, fields: Mapping[str, Any]) -> Fields:
    metrics = read_metrics(folder)
    if not metrics and fields.get("state") == FINISHED:
        raise ValueError("missing or empty")
    miou = metrics.get("val/mIoU", math.nan)
    if not (math.isnan(miou) or 0 <= miou <= 1):
        raise ValueError(f"val/mIoU is {miou}")
    yield "metrics", metrics


def _history(folder: Path, fields: Mapping[str, Any]) -> Fields:
    yield "curves", read_curves(folder / "metrics.csv")


def _evaluation(folder: Path, fields: Mapping[str, Any]) -> Fields:
    yield "evaluation", read_evaluation(folder)


_READERS: dict[str, Callable[[Path, Mapping[str, Any]], Fields]] = {
    "status.json": _status,
    ".hydra/config.yaml": _settings,
    ".hydra/overrides.yaml": _overrides,
    "metrics.json": _metrics,
    "metrics.csv": _history,
    "evaluation.npz": _evaluation,
}
"""Which reader reads which file; each is given the fields that those before it have read."""
