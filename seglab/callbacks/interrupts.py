"""Saves and stops an interrupted run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging

from seglab.run.paths import LAST
from seglab.runtime.preemption import is_asked


class SaveAndStop(L.Callback):
    """Saves ``last.ckpt`` after the step in which the signal arrived, and interrupts the run.

    All processes stop after the same step, whichever received the signal. An interrupted validation
    is restarted on resume. With several processes it completes first, because they cannot stop at
    the same batch.

    It must be the last callback, so that the checkpoint contains what the others do after a step.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
        trainer.save_checkpoint(self.folder / LAST)
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
        if trainer.world_size > 1 or not is_asked():
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
            trainer.save_checkpoint(self.folder / LAST)
        raise KeyboardInterrupt

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop before an epoch: the previous one is saved."""
        if self._asked(trainer):
            raise KeyboardInterrupt

    def _asked(self, trainer: L.Trainer) -> bool:
        asked = is_asked()
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        return asked
