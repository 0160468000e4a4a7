"""Progress of a run: a bar on a terminal, and one line per epoch.

By hand, because Lightning's RichProgressBar has one bar per epoch and prints nothing to a log.
"""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L
from rich.console import Console

from seglab.printing import print_plain, printable
from seglab.runtime.progress_bar import progress_bar


class Progress(L.Callback):
    """A bar over the images of one evaluation or prediction.

    Args:
        console: to print on.
        description: the label of the bar.
        total: the number of images.
    """

    def __init__(self, console: Console, description: str, total: int) -> None:
        self.console, self.progress = console, progress_bar(console)
        self.task = self.progress.add_task(printable(description), total=total, numbers="")
        self.done, self.start = 0, 0.0

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        self.done, self.start = 0, time.perf_counter()
        self.progress.start()
        self.progress.reset(self.task)

    on_predict_start = on_validation_start

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance by the images of one batch of all processes."""
        images = len(batch.ids) * trainer.world_size
        self.done += images
        rate = self.done / max(1e-9, time.perf_counter() - self.start)
        self.progress.update(self.task, advance=images, numbers=f"{rate:.1f} images/s")

    on_predict_batch_end = on_validation_batch_end

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the bar, however the run ended."""
        self.progress.stop()


class TrainingProgress(Progress):
    """A bar over all steps of a run with loss, mIoU and time left, and a line per epoch."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "training", 0)
        self.numbers: dict[str, float] = {}
        self.validated = False
        self.images, self.seconds = 0, 0.0  # of all complete epochs

    @property
    def speed(self) -> float:
        """The images per second of training, without validation; NaN before the first epoch."""
        return self.images / self.seconds if self.seconds else math.nan

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar, starting at the position of a resumed run."""
        # For an epoch resumed midway.
        self.epoch_start, self.epoch_images = time.perf_counter(), 0
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        done = trainer.global_step * trainer.accumulate_grad_batches
        self.progress.start()
        self.progress.reset(self.task, total=total, completed=done)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the epoch's clock."""
        self.validated = False
        self.epoch_start, self.epoch_images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Advance by one batch."""
        self.epoch_images += len(arguments[1].ids) * trainer.world_size
        if trainer.is_last_batch:
            self.images += self.epoch_images
            self.seconds += time.perf_counter() - self.epoch_start
        self._show(trainer, "training", advance=1)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show that validation has started."""

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Show the progress of the validation."""
        total = trainer.num_val_batches[0] if trainer.num_val_batches else arguments[2] + 1
        self._show(trainer, f"validating {arguments[2] + 1}/{total}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the new mIoU."""
        self.validated = True
        self._show(trainer, "training")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the permanent line of the epoch."""
        shown = {k: v for k, v in self.numbers.items() if self.validated or k == "train/loss"}
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        seconds = time.perf_counter() - self.epoch_start
        epoch = f"{trainer.current_epoch + 1:>{len(str(trainer.max_epochs))}}/{trainer.max_epochs}"
        print_plain(f"epoch {epoch}  {numbers}  {seconds:.1f} s", self.console)

    def _show(self, trainer: L.Trainer, description: str, advance: float = 0) -> None:
        logged = trainer.callback_metrics
        names = [name for name in ("train/loss", "val/mIoU", "val/loss") if name in logged]
        self.numbers |= {name: float(logged[name]) for name in names}
        shown = {k: v for k, v in self.numbers.items() if k != "val/loss"}  # a bar is narrow
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
        self.progress.update(self.task, description=description, advance=advance, numbers=numbers)
