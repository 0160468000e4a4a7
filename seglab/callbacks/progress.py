"""What a run shows while it works: a bar on a terminal, a line an epoch everywhere."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import TaskID

from seglab.runtime.bars import bar
from seglab.text import print_plain


class TrainingProgress(L.Callback):
    """A bar over all steps of a run with loss, mIoU and time left, and a line for each epoch."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = bar(console)
        self.task: TaskID | None = None
        self.numbers: dict[str, float] = {}
        self.validated = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar, at the position that a resumed run has reached."""
        self.epoch_start = time.perf_counter()  # of an epoch that another process has begun
        self.batches = int(trainer.num_training_batches)
        total = self.batches * (trainer.max_epochs or 0)
        self.progress.start()
        done = trainer.global_step * trainer.accumulate_grad_batches
        self.task = self.progress.add_task("training", total=total, completed=done, numbers="")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the epoch's clock."""
        self.validated = False
        self.epoch_start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Advance by one batch."""
        self._note(trainer, "train/loss")
        self._show("training", advance=1)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Say how far the validation is."""
        batch = arguments[2] + 1
        total = trainer.num_val_batches[0] if trainer.num_val_batches else batch
        self._show(f"validating {batch}/{total}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the new mIoU."""
        self.validated = True
        self._note(trainer, "val/mIoU", "val/loss")
        self._show("training")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave a line that stays."""
        shown = {k: v for k, v in self.numbers.items() if self.validated or k == "train/loss"}
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        seconds = time.perf_counter() - self.epoch_start
        epoch = f"{trainer.current_epoch + 1:>{len(str(trainer.max_epochs))}}/{trainer.max_epochs}"
        print_plain(f"epoch {epoch}  {numbers}  {seconds:.1f} s", self.console)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the bar away, however the run ended."""
        self.progress.stop()

    def _note(self, trainer: L.Trainer, *names: str) -> None:
        for name in names:
            if name in trainer.callback_metrics:
                self.numbers[name] = float(trainer.callback_metrics[name])

    def _show(self, description: str, advance: float = 0) -> None:
        if self.task is not None:
            shown = {k: v for k, v in self.numbers.items() if k != "val/loss"}  # a bar is narrow
            numbers = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
            self.progress.update(
                self.task, description=description, advance=advance, numbers=numbers
            )


class EvaluationProgress(L.Callback):
    """A bar over the batches of one evaluation."""

    def __init__(self, console: Console) -> None:
        self.progress = bar(console)
        self.task: TaskID | None = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        self.progress.start()
        total = int(trainer.num_val_batches[0])
        self.task = self.progress.add_task("evaluating", total=total, numbers="")

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Advance by one batch."""
        if self.task is not None:
            self.progress.advance(self.task)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the bar away, however the evaluation ended."""
        self.progress.stop()


class PredictionProgress(L.Callback):
    """A bar over the images of one prediction."""

    def __init__(self, console: Console, total: int) -> None:
        self.progress = bar(console)
        self.task = self.progress.add_task("predicting", total=total, numbers="")

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        self.progress.start()

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Advance by the images of one batch."""
        batch = arguments[1]
        self.progress.advance(self.task, len(batch.ids))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the bar away, however the prediction ended."""
        self.progress.stop()
