"""A callback that gets jobs into trouble, for as long as a file says so."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L


class Trouble(L.Callback):
    """Does to the run of seed N, when its second epoch starts, what the file ``folder/N`` says."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        config: Any = pl_module.config
        order = self.folder / str(config.seed)
        if trainer.current_epoch != 1 or not order.is_file():
            return
        what, _, rank = order.read_text().partition(" ")
        if rank and trainer.global_rank != int(rank):
            return
        if what == "raise":
            raise RuntimeError("out of luck")
        os.kill(os.getpid(), getattr(signal, what))


class Sleeper(L.Callback):
    """Leaves ``asleep`` in the run folder, and sleeps for a minute in the second step."""

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        if trainer.global_step == 1:
            (Path(trainer.default_root_dir) / "asleep").touch()
            time.sleep(60)
