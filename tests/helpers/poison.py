"""Callbacks that make a run's numbers, memory or loading processes go wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import torch


class Poison(L.Callback):
    """At one step, makes the loss NaN, breaks a weight, takes the memory or kills a worker.

    Where a file ``antidote`` is in the current folder, it does nothing.
    """

    def __init__(self, what: str, step: int, rank: int = 0) -> None:
        self.what, self.step, self.rank = what, step, rank

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        if trainer.global_step != self.step or trainer.global_rank != self.rank:
            return
        if Path("antidote").exists():
            return
        module: Any = pl_module
        if self.what == "loss":
            module.mean.fill_(float("nan"))
        if self.what == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0")
        if self.what == "worker":
            # The oldest copy of this process loads for training; younger ones may just be leaving
            # a validation.
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            own = Path("/proc/self/cmdline").read_bytes()
            copies = [one for one in children if Path(f"/proc/{one}/cmdline").read_bytes() == own]
            os.kill(int(copies[0]), signal.SIGKILL)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        if self.what == "weight" and trainer.global_step == self.step:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(float("inf"))
