"""Stops a run at a NaN or infinite loss or weight, before the optimiser's step or the save.

The loss is checked after the backward pass and before the optimiser's step, so the weights are
still those that produced it. Reading the loss here syncs the GPU once per step, when only the
optimiser's kernels remain to be queued; the progress bar and the history read it microseconds later
anyway. An infinite *gradient* is no error: under fp16 the scaler skips such a step. The last step
of an epoch may break weights that no later loss reveals, so every checkpoint is checked before it
is written.
"""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from seglab.errors import DivergedError
from seglab.run.bad_batch import save_batch
from seglab.run.paths import BAD_BATCH, CHECKPOINTS, LAST
from seglab.runtime.collective import gather

KEPT = 5
"""How many finite losses are remembered."""


class FiniteNumbers(L.Callback):
    """Stops a run at the step whose loss is NaN or infinite, and saves the batch.

    All processes stop at that step, whichever has the bad batch.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recent: deque[dict[str, float]] = deque(maxlen=KEPT)
        self.batch: Any = None
        self.loss: Tensor | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch."""
        self.batch = batch

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Keep this process's own loss, without a sync."""
        self.loss = loss.detach()

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the loss, averaged over the processes so that all agree.

        Raises:
            DivergedError: it is NaN or infinite.
        """
        logged = trainer.callback_metrics
        if math.isfinite(float(logged["train/loss"])):
            self.recent.append(_values(trainer))
            return
        assert self.loss is not None
        bad = not bool(self.loss.isfinite())
        reports = [message.value for message in gather((bad, self.batch.ids))]
        ids = next((ids for is_bad, ids in reports if is_bad), self.batch.ids)
        first = next((rank for rank, (is_bad, _) in enumerate(reports) if is_bad), 0)
        value = float(logged["train/loss"])
        self._stop(trainer, f"train/loss is {value}", ids, trainer.global_rank == first)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the weights before they are saved; earlier checkpoints stay.

        Raises:
            DivergedError: a weight is NaN or infinite, or a buffer such as a running mean is NaN.
        """
        names = {name for name, _ in pl_module.named_parameters()}
        for name, value in checkpoint["state_dict"].items():
            if not (isinstance(value, Tensor) and value.is_floating_point()):
                continue
            # A user's net may have -inf in a buffer, as a mask.
            wrong = ~value.isfinite() if name in names else value.isnan()
            if bool(wrong.any()):
                ids = self.batch.ids if self.batch is not None else []
                what = f"{name} holds NaN or infinity after the step, and is not saved"
                self._stop(trainer, what, ids, trainer.is_global_zero)

    def _stop(self, trainer: L.Trainer, what: str, ids: list[str], writes: bool) -> None:
        step, epoch = trainer.global_step, trainer.current_epoch
        losses = [values["train/loss"] for values in self.recent]
        before = ", ".join(f"{loss:.4g}" for loss in losses) or "none"
        where = self.folder / BAD_BATCH
        if writes and self.batch is not None:
            facts = {
                "what": what,
                "step": step,
                "epoch": epoch,
                "ids": ids,
                "values": {k: str(v) for k, v in _values(trainer).items()},
                "learning_rates": [group["lr"] for group in trainer.optimizers[0].param_groups],
                "last_finite": list(self.recent),
            }
            save_batch(self.batch, facts, where)
        raise DivergedError(
            f"{what} at step {step} (epoch {epoch + 1}, batch {', '.join(ids)}); finite losses "
            f"before it: {before}; the batch is in {where}; {advice(self.folder)}"
        )


def advice(folder: Path) -> str:
    """Return advice on how to continue after a run in ``folder`` has stopped.

    Resuming changes no settings and would mostly meet the same batch again, so it suggests a new
    run.
    """
    text = "try a new run with a lower optimizer.lr or trainer.gradient_clip_val=1"
    last = folder / CHECKPOINTS / LAST
    if not last.is_file():
        return text
    return (
        f"{text}, from the last checkpoint by model.weights={last}; resume=true repeats the steps "
        "since that checkpoint with the same settings"
    )


def _values(trainer: L.Trainer) -> dict[str, float]:
    logged = trainer.callback_metrics.items()
    values = {name: float(value) for name, value in logged if name.startswith("train/")}
    return {"step": trainer.global_step, **values}
