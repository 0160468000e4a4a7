"""A scheduler that wants the machine back: SIGUSR2 saves at the next step and ends the run.

The checkpoint is of the middle of an epoch, and the run goes on from there to the same weights as
if nothing had happened.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L

SIGNAL = signal.SIGUSR2
"""What submitit lets SLURM send before a time-out or a preemption."""


class _Wish:
    asked = False


def ask(*arguments: object) -> None:
    """Note, as a signal's handler, that the run is to end."""
    _Wish.asked = True


def is_asked() -> bool:
    """Tell whether the run is to end, or has ended, for this reason."""
    return _Wish.asked


@contextmanager
def listening() -> Iterator[None]:
    """Take the signal as a wish for the length of a training."""
    before = signal.signal(SIGNAL, ask)
    try:
        yield
    finally:
        signal.signal(SIGNAL, before)


class SaveAndStop(L.Callback):
    """Saves ``last.ckpt`` after the step in which the signal came, and interrupts the run.

    All processes do so after the same step, whichever has been told. The last step of an epoch is
    followed by its validation and saved with it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Save and stop, if somebody was told to, and if this was the last batch of a step."""
        progress = trainer.fit_loop.epoch_loop
        if trainer.is_last_batch or progress._should_accumulate() or not self._asked(trainer):
            return
        # Lightning would log the step's loss after this.
        logged = trainer.callback_metrics.items()
        losses = {name: float(value) for name, value in logged if name.startswith("train/")}
        pl_module.log_exact(losses)  # type: ignore[operator]
        trainer.save_checkpoint(self.folder / "last.ckpt")
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
