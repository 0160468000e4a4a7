"""Passes Lightning's metrics to a W&B run: one row per step, with the step as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_only

from seglab.loggers.history import PlainLogger
from seglab.loggers.wandb.session import Session
from seglab.run.metric_names import INSTANCE, SEMANTIC

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run

STEP = "step"
"""The metric on the x axis; W&B's own counter would go on counting in a run that is resumed."""

HIGHEST = (*SEMANTIC, *INSTANCE)


def define_metrics(run: Run) -> None:
    """Define the x-axis of each metric, and its summary value in the runs table."""
    run.define_metric(STEP, hidden=True)
    for name in ("epoch", "train/*", "val/*", "lr/*", "speed/*", "gpu/*", "predictions/*"):
        run.define_metric(name, step_metric=STEP)
    for name in HIGHEST:
        run.define_metric(f"val/{name}", step_metric=STEP, summary="max,last")
    for name in ("train/loss", "val/loss"):
        run.define_metric(name, step_metric=STEP, summary="min,last")


class WandbLogger(PlainLogger):
    """Gathers the values of a step and logs them as one row.

    Lightning's own logger needs a started run, logs a row per call, and cannot continue offline
    once the server is lost.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.row: dict[str, Any] = {}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add values to the row of ``step``; without one, to the latest row."""
        if step is not None and step != self.row.get(STEP):
            self.flush()
            self.row[STEP] = step
        self.row |= metrics

    def flush(self) -> None:
        """Log the row; the next row keeps the step until a new one is given."""
        if self.row.keys() - {STEP}:
            self.session.log(self.row)
        self.row = {name: value for name, value in self.row.items() if name == STEP}
