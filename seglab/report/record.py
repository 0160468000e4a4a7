"""One run folder as plain data; unreadable parts are reported, never left out. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seglab.errors import RunError
from seglab.report.curves import Curves, read_curves
from seglab.run.evaluation import StoredEvaluation, read_evaluation
from seglab.run.folder import read_metrics
from seglab.run.paths import (
    EVALUATION,
    HISTORY,
    METRICS,
    OBJECTIVES,
    OVERRIDES,
    SETTINGS,
    STATUS,
)
from seglab.run.settings import read_overrides, read_settings
from seglab.run.status import FINISHED, SPEED, status
from seglab.run.untrusted import read_json
from seglab.runtime.links import refuse_links

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class RunRecord:
    """The content of a run folder.

    Attributes:
        folder: its path.
        name: the shortest distinguishing part of the path.
        state: finished, interrupted, failed, started (still running) or unreadable.
        reason: why it failed or is unreadable; empty otherwise.
        started, ended: ISO times; empty where unknown.
        settings: the resolved configuration under dotted names.
        overrides: of the command line.
        metrics: the content of ``metrics.json``, NaN for null, and the speed of training.
        curves: the history to plot, ``(N, 2)`` arrays of steps and values.
        evaluation: the counts of its last evaluation, if any.
        data: the data digest of each used split, ``train`` and ``val``.
        checkpoint: the file name of the checkpoint that was evaluated.
        step: of this checkpoint; None where unknown.
        weights: a distinguishing name of ``model.weights``; empty without weights.
        trained_on: the digests of the data that this checkpoint was trained on.
        mixed: whether it was resumed on other devices, or with other code of the user's.
        codes: short digests of the user's own code that it was trained with, in order.
        objectives: of the search that it is a trial of, with their directions; otherwise empty.
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
    evaluation: StoredEvaluation | None = None
    data: dict[str, str] = field(default_factory=dict)
    checkpoint: str = ""
    step: int | None = None
    weights: str = ""
    trained_on: dict[str, str] = field(default_factory=dict)
    mixed: bool = False
    codes: tuple[str, ...] = ()
    objectives: dict[str, str] = field(default_factory=dict)

    @property
    def miou(self) -> float:
        """The headline of a finished run; NaN for all others."""
        return self.metrics.get("val/mIoU", math.nan) if self.state == FINISHED else math.nan

    @property
    def last_miou(self) -> float:
        """The last validation of a run that did not finish, such as a pruned one; else NaN."""
        points = self.curves.get("val/mIoU")
        return math.nan if points is None or self.state == FINISHED else float(points[-1, 1])

    @property
    def partial(self) -> bool:
        """Whether the scores are those of a part of the split."""
        limit = self.settings.get("trainer.limit_val_batches")
        return limit is not None and not (isinstance(limit, float) and limit == 1)

    @property
    def kind(self) -> str:
        """The command that made it: train, evaluate or score."""
        made = {"checkpoint": "evaluate", "predictions": "score"}
        return next((command for key, command in made.items() if key in self.settings), "train")


def read_run(folder: Path, name: str) -> RunRecord:
    """Read one run folder; if any part is unreadable, so is the run, with the reason.

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
            for field_name, value in read(folder, fields):  # keeps the fields read before an error
                fields[field_name] = value
        except RunError as error:
            problems.append(str(error))
        except Exception as error:  # any error: the files are not ours
            problems.append(f"{file}: {' '.join(str(error).split()) or type(error).__name__}")
    if problems:
        fields |= {"state": UNREADABLE, "reason": "; ".join(problems)}
    return RunRecord(folder, name, **fields)


Fields = Iterable[tuple[str, Any]]
"""Fields of a record and their values."""


def _status(folder: Path, fields: Mapping[str, Any]) -> Fields:
    entry = read_json(folder / STATUS)
    yield "started", str(entry.get("started", ""))
    yield "ended", str(entry.get("ended", ""))
    yield "reason", str(entry.get("error", ""))
    checkpoint = entry.get("checkpoint") or {}
    yield "data", _texts(entry.get("data"))
    yield "checkpoint", str(checkpoint.get("name", ""))
    step = checkpoint.get("step")
    yield "step", step if isinstance(step, int) else None
    yield "trained_on", _texts(checkpoint.get("data"))
    starts = _kept(entry.get("history") or [])
    if isinstance(entry.get(SPEED), float):
        yield "metrics", {SPEED: entry[SPEED]}
    counts = [(one.get("trainer.devices"), one.get("trainer.num_nodes", 1)) for one in starts]
    codes = [str(one.get("own_code", "")) for one in starts]
    yield "codes", tuple(dict.fromkeys(filter(None, codes)))
    yield "mixed", any(len({*map(str, values)}) > 1 for values in (counts, codes))
    try:
        state = status(folder)
    except OSError:  # another user's folder: its lock cannot be tested
        state = str(entry["status"])
    yield "state", state


def _kept(starts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the starts of a run that left a step behind: a later one may begin before them."""
    steps = [start.get("step", number) for number, start in enumerate(starts)]
    return [
        start for i, start in enumerate(starts) if all(step > steps[i] for step in steps[i + 1 :])
    ]


def _texts(values: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (values or {}).items()}


def _metrics(folder: Path, fields: Mapping[str, Any]) -> Fields:
    metrics = read_metrics(folder)
    if not metrics and fields.get("state") == FINISHED:
        raise ValueError("missing or empty")
    miou = metrics.get("val/mIoU", math.nan)
    if not (math.isnan(miou) or 0 <= miou <= 1):
        raise ValueError(f"val/mIoU is {miou}")
    yield "metrics", {**metrics, **fields.get("metrics", {})}


def _objectives(folder: Path, fields: Mapping[str, Any]) -> Fields:
    path = folder.parent / OBJECTIVES
    if path.is_file() and not path.is_symlink():
        yield "objectives", _texts(read_json(path))


_READERS: dict[Path | str, Callable[[Path, Mapping[str, Any]], Fields]] = {
    STATUS: _status,
    SETTINGS: lambda folder, _: [("settings", read_settings(folder))],
    OVERRIDES: lambda folder, _: [("overrides", read_overrides(folder))],
    METRICS: _metrics,
    HISTORY: lambda folder, _: [("curves", read_curves(folder / HISTORY))],
    EVALUATION: lambda folder, _: [("evaluation", read_evaluation(folder))],
    OBJECTIVES: _objectives,
}
"""The reader of each file; it is given the fields that those before it have read."""
