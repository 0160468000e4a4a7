"""Saves a run that is told to end, and interrupts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging

from seglab.run.paths import LAST
from seglab.runtime.preemption import is_asked


class SaveAndStop(L.Callback):
    """Saves ``last.ckpt`` after the step in which the signal came, and interrupts the run.

    All processes do so after the same step, whichever has been told. A validation is left where it
    is, and begun anew when the run goes on; on several processes, which could not agree on a place
    to leave it, it is finished and the epoch saved.

    It comes after all other callbacks, so that what they do after a step is in the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Save and stop, if somebody was told to, and if this was the last batch of a step."""
        ready = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        accumulating = ready % trainer.accumulate_grad_batches > 0
        if trainer.is_last_batch or accumulating or not self._asked(trainer):
            return
        # Lightning would log the step's loss after this.
        logged = trainer.callback_metrics.items()
        losses = {name: float(value) for name, value in logged if name.startswith("train/")}
        pl_module.log_exact(losses)  # type: ignore[operator]
        trainer.save_checkpoint(self.folder / LAST)
        raise KeyboardInterrupt

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a validation that was left anew."""
        loop = trainer.fit_loop.epoch_loop.val_loop
        if trainer.state.fn == "fit" and loop.restarted_mid_evaluation:
            loop.batch_progress.reset()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Leave a validation: save the epoch as it was before, or nothing when all is saved."""
        if trainer.world_size > 1 or not is_asked():
            return
        if trainer.state.fn == "fit":
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightAveraging):  # has lent the task its weights
                    callback.on_validation_epoch_end(trainer, pl_module)
            # What Lightning takes for a validation that was left in its first batch.
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            progress.reset()
            progress.increment_ready()
            progress.increment_started()
            trainer.save_checkpoint(self.folder / LAST)
        raise KeyboardInterrupt

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop before an epoch: the one before it is saved."""
        if self._asked(trainer):
            raise KeyboardInterrupt

    def _asked(self, trainer: L.Trainer) -> bool:
        asked = is_asked()
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        return asked
