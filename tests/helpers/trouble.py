"""A callback that gets jobs into trouble, for as long as a file says so."""

from __future__ import annotations

import os
import signal
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import lightning as L


class Trouble(L.Callback):
    """Does to the run of seed N, when its second epoch starts, what the file ``folder/N`` says."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        order = self.folder / str(pl_module.seed)
        if trainer.current_epoch != 1 or not order.is_file():
            return
        what, _, rank = order.read_text().partition(" ")
        if rank and trainer.global_rank != int(rank):
            return
        if what == "raise":
            raise RuntimeError("out of luck")
        os.kill(os.getpid(), getattr(signal, what))


class StopAfter(L.Callback):
    """Interrupts a run after its first ``steps`` steps, as Ctrl-C does; notes who saw what.

    ``FOLDER/seen.txt`` gets a line per batch: epoch and ids.
    """

    def __init__(self, steps: int, folder: str) -> None:
        self.steps, self.seen = steps, Path(folder) / "seen.txt"

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        with self.seen.open("a") as file:
            file.write(f"{trainer.current_epoch} {' '.join(batch.ids)}\n")
        if trainer.global_step == self.steps and trainer.global_rank == 0:
            os.kill(os.getpid(), signal.SIGINT)


class Sleeper(L.Callback):
    """Leaves ``asleep`` in the run folder, and sleeps for a minute in the second step."""

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        if trainer.global_step == 1:
            (Path(trainer.default_root_dir) / "asleep").touch()
            time.sleep(60)


class Slow(L.Callback):
    """Sleeps for so many seconds after each epoch."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        time.sleep(self.seconds)


class Seen(L.Callback):
    """Notes the samples of each step of this process in ``seenN.txt`` of the run folder.

    A line is the step, an id, and digests of its augmented pixels and class map.
    """

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        name = f"seen{trainer.global_rank}of{trainer.world_size}.txt"
        with (Path(trainer.default_root_dir) / name).open("a") as file:
            for one, *arrays in zip(batch.ids, batch.image, batch.class_map, strict=True):
                digests = [sha256(array.contiguous().numpy()).hexdigest() for array in arrays]
                file.write(f"{trainer.global_step} {one} {' '.join(digests)}\n")
