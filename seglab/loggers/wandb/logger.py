"""Hands what Lightning logs to a W&B run: one row a step, the step as a value of it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from seglab.loggers.wandb.session import Session

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run

STEP = "step"
"""The metric on the x axis; W&B's own counter would go on counting in a run that is resumed."""

HIGHEST = ("mIoU", "pixel_accuracy", "mean_accuracy", "fw_IoU", "mask_AP", "mask_AP50")


def define_metrics(run: Run) -> None:
    """Tell W&B what each metric is drawn over, and which value of it a table of runs shows."""
    run.define_metric(STEP, hidden=True)
    for name in ("epoch", "train/*", "val/*", "lr/*", "speed/*", "gpu/*", "predictions/*"):
        run.define_metric(name, step_metric=STEP)
    for name in HIGHEST:
        run.define_metric(f"val/{name}", step_metric=STEP, summary="max,last")
    for name in ("train/loss", "val/loss"):
        run.define_metric(name, step_metric=STEP, summary="min,last")


class WandbLogger(Logger):
    """Gathers the values of a step and logs them as one row.

    Lightning's own sets WANDB_MODE for the whole process, and cannot fall back.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.row: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Lightning asks every logger for a name."""
        return "wandb"

    @property
    def version(self) -> int:
        """Lightning asks every logger for a version."""
        return 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add values to the row of ``step``; without one, to the latest row."""
        if step is not None and step != self.row.get(STEP):
            self.flush()
            self.row[STEP] = step
        self.row |= metrics

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: the run was started with the whole configuration."""

    def flush(self) -> None:
        """Log the row; the next one keeps its step until it is given another."""
        if self.row.keys() - {STEP}:
            self.session.log(self.row)
        self.row = {name: value for name, value in self.row.items() if name == STEP}
