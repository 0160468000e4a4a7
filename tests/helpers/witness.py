"""A callback that writes down what each process of a job really did."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml


class Witness(L.Callback):
    """Leaves ``rankN.json`` in the run folder: the optimiser's own rate, the model, the weights.

    Also the threads that each training and validation batch was computed with, and the process's
    listening sockets at the end.
    """

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.threads.add(torch.get_num_threads())

    def on_validation_batch_end(self, *arguments: Any) -> None:
        self.threads.add(torch.get_num_threads())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        config = yaml.safe_load((folder / ".hydra/config.yaml").read_text())
        group = trainer.optimizers[0].param_groups[0]
        seen = {
            "pid": os.getpid(),
            "world_size": trainer.world_size,
            "batches": trainer.num_training_batches,
            "lr": group["initial_lr"],
            "weight_decay": group["weight_decay"],
            "seed": config["seed"],
            "threads": config["trainer"]["threads"],
            "used_threads": sorted(self.threads),
            "weights": float(sum(p.detach().double().abs().sum() for p in pl_module.parameters())),
        }
        path = folder / f"rank{trainer.global_rank}.json"
        path.write_text(json.dumps(seen))
