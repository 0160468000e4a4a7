"""Progress and results of a sweep: one line per job, a table, sweep.csv."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from seglab.errors import RunError
from seglab.printing import plain, print_plain, printable, rounded, styled
from seglab.run.folder import read_metrics
from seglab.run.history import validations
from seglab.run.paths import HISTORY
from seglab.run.status import FAILED, FINISHED, INTERRUPTED, PRUNED, SPEED, read_status
from seglab.runtime.spreadsheet import write_table
from seglab.sweep.jobs import Job

NOT_STARTED, SUBMITTED = "not started", "submitted"
"""The status of a job that a sweep has not come to, or has left to a cluster."""


@dataclass(frozen=True)
class Outcome:
    """The result of a job, read from its folder.

    Attributes:
        job: the job.
        status: finished, pruned, failed, interrupted, or not started.
        metrics: the content of ``metrics.json``; empty if it does not exist.
        seconds: the duration of its last attempt; NaN if unknown.
        error: in one line; of a pruned job the reason.
        accepted: whether the sweep succeeds even if this job has failed.
    """

    job: Job
    status: str
    metrics: dict[str, float]
    seconds: float
    error: str
    accepted: bool = False

    @property
    def miou(self) -> float:
        """The headline."""
        return self.metrics.get("val/mIoU", math.nan)


def read_outcome(job: Job, status: str, error: str = "") -> Outcome:
    """Read the outcome of a job from its folder."""
    entry = read_status(job.folder)
    metrics: dict[str, float] = {}
    if status != FAILED:
        try:
            metrics = read_metrics(job.folder)
            metrics |= {SPEED: entry[SPEED]} if isinstance(entry.get(SPEED), float) else {}
        except RunError as damage:
            status, error = FAILED, f"{damage}; delete {job.folder} to train it again"
    if status == PRUNED:
        metrics = dict([("val/mIoU", v) for _, v in validations(job.folder, "val/mIoU")][-1:])
    return Outcome(job, status, metrics, _duration(entry), error or str(entry.get("error", "")))


def _duration(entry: Mapping[str, Any]) -> float:
    """Return the seconds between start and end of a status; NaN if unknown."""
    try:
        start, end = (datetime.fromisoformat(entry[key]) for key in ("started", "ended"))
        return (end - start).total_seconds()
    except (KeyError, TypeError, ValueError):
        return math.nan


def progress_of(job: Job) -> tuple[float, str]:
    """Return the progress of a running job, 0..1, and its latest metrics, from its history."""
    epochs, path = job.config.trainer.max_epochs if job.config else 1, job.folder / HISTORY
    try:
        stat = path.stat()
        latest = _latest(path, stat.st_size, stat.st_mtime_ns)
        done = (int(float(latest["epoch"])) + 1) / epochs if "val/mIoU" in latest else 0.0
        shown = [f"{name} {float(latest[name]):.3f}" for name in _SHOWN if name in latest]
    except (OSError, ValueError, TypeError, KeyError, OverflowError, csv.Error):
        return 0.0, ""  # none yet, or damaged, which the job itself reports
    return min(done, 1.0), "  ".join(shown)


_SHOWN = ("train/loss", "val/mIoU")


@lru_cache(maxsize=512)
def _latest(path: Path, size: int, changed: int) -> dict[str, str]:
    """Return the latest value of each column, read once per change of the file."""
    latest: dict[str, str] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            latest |= {name: value for name, value in row.items() if value}
    return latest


class Board:
    """The lines of a sweep; those of running jobs are updated on a terminal."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.done = console, total, 0
        self.running: dict[int, tuple[Job, float]] = {}
        self.begin = time.monotonic()
        self.live = Live(console=console, transient=True, refresh_per_second=2, auto_refresh=False)
        self.shown = -math.inf

    def __enter__(self) -> Board:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.live.stop()

    def start(self, job: Job) -> None:
        """Record the start of a job."""
        self.running[job.number] = (job, time.monotonic())

    def end(self, outcome: Outcome) -> None:
        """Print the final line of a job."""
        _, start = self.running.pop(outcome.job.number)
        self.done, took = self.done + 1, clock(time.monotonic() - start)
        score = "" if math.isnan(outcome.miou) else f"val/mIoU {outcome.miou:.4f}  "
        line = [
            (f"{self.done:>{len(str(self.total))}}/{self.total} ", ""),
            (f"{outcome.status:<11} ", _STYLES.get(outcome.status, "")),
            (f"{outcome.job.folder.name}  {score}{took}{self.left()}", ""),
        ]
        self.console.print(styled(*line), soft_wrap=True)
        if outcome.error:
            print_plain(f"    {outcome.error}", self.console)

    def left(self) -> str:
        """Return the estimated time left."""
        parts = sum(progress_of(job)[0] for job, _ in self.running.values())
        ended, gone = self.done + parts, time.monotonic() - self.begin
        if not ended or self.done == self.total:
            return ""
        return f"  about {clock(gone / ended * (self.total - ended))} left"

    def show(self) -> None:
        """Show the running jobs, twice a second."""
        if not self.live.is_started or time.monotonic() - self.shown < 0.5:
            return
        self.shown = time.monotonic()
        rows = []
        for job, start in self.running.values():
            share, numbers = progress_of(job)
            gone = clock(self.shown - start)
            rows.append(plain(f"   {share:>4.0%}  {job.folder.name}  {numbers}  {gone}"))
        rows.append(plain(f"{self.done}/{self.total} jobs{self.left()}"))
        self.live.update(Group(*rows), refresh=True)


_STYLES = {FINISHED: "green", PRUNED: "cyan", FAILED: "red", INTERRUPTED: "yellow"}


def clock(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds, 0:03:05; nothing for NaN."""
    return "" if math.isnan(seconds) else str(timedelta(seconds=round(seconds)))


MAX_COLUMNS = 3
"""Swept keys that get a column each; more are listed in one."""


def show_table(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print the results of all jobs: what was swept first, the folders last."""
    keys = list(dict.fromkeys(key for outcome in outcomes for key in swept(outcome.job)))
    columns = keys if len(keys) <= MAX_COLUMNS else ["overrides"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("job", justify="right", no_wrap=True)
    for key in columns:
        table.add_column(key.rpartition(".")[2] if key in keys else key, overflow="fold")
    for name in ("status", "val/mIoU", "time"):
        table.add_column(name, justify="left" if name == "status" else "right", no_wrap=True)
    table.add_column("folder", overflow="fold")
    for outcome in outcomes:
        values = {key: rounded(value) for key, value in swept(outcome.job).items()}
        listed = "\n".join(f"{key}={value}" for key, value in values.items())
        cells = [values.get(key, "") for key in columns] if columns is keys else [listed]
        miou = "" if math.isnan(outcome.miou) else f"{outcome.miou:.4f}"
        table.add_row(
            *map(plain, (str(outcome.job.number), *map(printable, cells))),
            styled((outcome.status, _STYLES.get(outcome.status, ""))),
            *map(plain, (miou, clock(outcome.seconds))),
            plain(_folder(outcome, console.width, columns is keys)),
        )
    console.print(table)


def _folder(outcome: Outcome, width: int, listed: bool) -> str:
    """Return the name of a job's folder; the end of a long one whose values have columns."""
    name = outcome.job.folder.name
    return f"…{name[-HASH:]}" if listed and len(name) > width // 4 else name


HASH = 8
"""Digits at the end of a folder's name, which tell it from all others."""


def swept(job: Job) -> dict[str, str]:
    """Return the swept keys of a job and their values, as on the command line."""
    pairs = (axis.partition("=") for axis in job.axes)
    return {key: value for key, _, value in pairs}


def write_csv(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the same table to a file, with the errors."""
    rows: list[list[Any]] = [
        ["job", "overrides", "status", "val/mIoU", "seconds", "folder", "error"]
    ]
    for outcome in outcomes:
        numbers = ["" if math.isnan(x) else x for x in (outcome.miou, outcome.seconds)]
        row = [outcome.job.number, " ".join(outcome.job.axes), outcome.status, *numbers]
        rows.append([*row, outcome.job.folder, outcome.error])
    write_table(path, rows)
