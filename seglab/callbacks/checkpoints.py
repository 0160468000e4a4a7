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

    ``config.checkpoints`` says which of them a finished run keeps; a run needs ``last.ckpt`` to go
    on after an interruption, so that it is there as long as the run is not finished, as is
    ``previous.ckpt``.

    Args:
        folder: the run's ``checkpoints``.
        config: kept in each of them.
        data: the digests of the training and validation data, kept too.
        before: called before one is written, so that no history is behind it.
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
        """Notice the best epoch."""
        score = pl_module.scores.get(SCORE, math.nan)  # type: ignore[union-attr, operator]
        if trainer.state.fn == "fit" and score > self.best:
            self.best, self.best_epoch, self.improved = score, trainer.current_epoch, True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch."""
        if self.improved and self.config.checkpoints in ("best", "both"):
            # First: a run that is killed here goes on from the epoch before, and gets here again.
            trainer.save_checkpoint(self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)
        self.improved = False

    def tidy(self) -> None:
        """Delete what a finished run is not to keep."""
        unwanted = [PREVIOUS, DAMAGED]
        unwanted += [LAST] if self.config.checkpoints in ("best", "none") else []
        for name in unwanted:
            with suppress(OSError):  # it is finished all the same
                (self.folder / name).unlink(missing_ok=True)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the configuration and the identity of the data beside the weights."""
        self.before()
        checkpoint[KEY] = {
            "config": asdict(self.config),
            "data": self.data,
            "processes": trainer.world_size,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far, so that a resumed run knows what it must beat."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score of the run that is resumed."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
