"""Saves ``last.ckpt`` after every epoch and ``best.ckpt`` for the best one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from seglab.run.checkpoints import KEY
from seglab.run.paths import BEST, DAMAGED, LAST, PREVIOUS
from seglab.schema import TrainConfig

SCORE = "val/mIoU"
"""What makes a checkpoint the best."""


class BestAndLast(Checkpoint):
    """Saves ``last.ckpt`` after every epoch, and ``best.ckpt`` when its mIoU is the highest yet.

    ``config.checkpoints`` sets which of them a finished run keeps. Until a run has finished,
    ``last.ckpt`` and ``previous.ckpt`` are kept, because resuming needs them.

    Args:
        folder: the run's ``checkpoints``.
        config: stored in each checkpoint.
        data: the digests of the training and validation data, stored too.
        before: called before each save; it flushes the history, which must not be older.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        data: Mapping[str, str],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.config, self.data, self.before = folder, config, dict(data), before
        self.best = -math.inf
        self.best_epoch = -1
        self.improved = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record whether this is the best epoch."""
        score = pl_module.scores.get(SCORE, math.nan)  # type: ignore[union-attr, operator]
        if trainer.state.fn == "fit" and score > self.best:
            self.best, self.best_epoch, self.improved = score, trainer.current_epoch, True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch."""
        if self.improved and self.config.checkpoints in ("best", "both"):
            # First: a run killed here resumes from the previous epoch and repeats this one.
            trainer.save_checkpoint(self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)
        self.improved = False

    def tidy(self) -> None:
        """Delete the checkpoints that a finished run does not keep."""
        unwanted = [PREVIOUS, DAMAGED]
        unwanted += [LAST] if self.config.checkpoints in ("best", "none") else []
        for name in unwanted:
            with suppress(OSError):  # the run is finished even if a file cannot be deleted
                (self.folder / name).unlink(missing_ok=True)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the configuration and the identity of the data with the weights."""
        self.before()
        checkpoint[KEY] = {
            "config": asdict(self.config),
            "data": self.data,
            "processes": trainer.world_size,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far, which a resumed run has to beat."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score of the resumed run."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
