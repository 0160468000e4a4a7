"""Saves and stops an interrupted run."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging

from seglab.run.paths import CHECKPOINTS, LAST
from seglab.run.status import prune_reason
from seglab.runtime.preemption import stop_requested

LOOK = 1.0
"""Seconds between two looks for the request of a search to stop."""


class SaveAndStop(L.Callback):
    """Saves ``last.ckpt`` after the step in which the signal arrived, and interrupts the run.

    A search that prunes the run asks for the same by a file in the run folder, which reaches the
    run on any machine. All processes stop after the same step, whichever was asked. An interrupted
    validation is restarted on resume. With several processes it completes first, because they
    cannot stop at the same batch.

    It must be the last callback, so that the checkpoint contains what the others do after a step.
    """

    def __init__(self, folder: Path) -> None:
        """Watch the run in ``folder``."""
        self.folder, self.last = folder, folder / CHECKPOINTS / LAST
        self.looked = -math.inf

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Save and stop, if any process was asked to and this was the last batch of a step."""
        ready = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        accumulating = ready % trainer.accumulate_grad_batches > 0
        if trainer.is_last_batch or accumulating or not self._asked(trainer):
            return
        # Lightning would log the step's loss after this.
        logged = trainer.callback_metrics.items()
        losses = {name: float(value) for name, value in logged if name.startswith("train/")}
        pl_module.log_exact(losses)  # type: ignore[operator]
        trainer.save_checkpoint(self.last)
        raise KeyboardInterrupt

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restart an interrupted validation."""
        loop = trainer.fit_loop.epoch_loop.val_loop
        if trainer.state.fn == "fit" and loop.restarted_mid_evaluation:
            loop.batch_progress.reset()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Interrupt a validation; in training, save the epoch before it first."""
        if trainer.world_size > 1 or not stop_requested():
            return
        if trainer.state.fn == "fit":
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightAveraging):  # the averaged weights are in the task
                    callback.on_validation_epoch_end(trainer, pl_module)
            # Lightning reads this as a validation interrupted in its first batch.
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            progress.reset()
            progress.increment_ready()
            progress.increment_started()
            trainer.save_checkpoint(self.last)
        raise KeyboardInterrupt

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop before an epoch: the previous one is saved."""
        if self._asked(trainer):
            raise KeyboardInterrupt

    def _asked(self, trainer: L.Trainer) -> bool:
        asked = stop_requested() or self._pruned()
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        return asked

    def _pruned(self) -> bool:
        if time.monotonic() - self.looked < LOOK:
            return False
        self.looked = time.monotonic()
        return prune_reason(self.folder) is not None
