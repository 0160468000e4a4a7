"""Checkpoints: written whole, read without pickle, best and last under fixed names."""

from __future__ import annotations

import math
import os
import pickle
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from seglab.errors import RunError
from seglab.schema import TrainConfig

KEY = "seglab"
"""Where a checkpoint keeps the configuration that made it."""

SCORE = "val/mIoU"
"""What makes a checkpoint the best."""


class WholeFiles(TorchCheckpointIO):
    """Writes beside the old file, flushes, then renames: a killed process leaves the old one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save ``checkpoint`` under ``path``, whole or not at all."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        making = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with making.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            making.replace(target)
        finally:
            making.unlink(missing_ok=True)


class BestAndLast(Checkpoint):
    """Saves ``last.ckpt`` after every epoch, and ``best.ckpt`` when its mIoU is the highest yet.

    ``config.checkpoints`` says which of them a finished run keeps; a run needs ``last.ckpt`` to go
    on after an interruption, so that it is there as long as the run is not finished.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder, self.config = folder, config
        self.best = -math.inf
        self.best_epoch = -1
        self.improved = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notice the best epoch."""
        score = pl_module.scores.get(SCORE, math.nan)  # type: ignore[union-attr, operator]
        if trainer.state.fn == "fit" and score > self.best:
            self.best, self.best_epoch, self.improved = score, trainer.current_epoch, True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch."""
        last = self.folder / "last.ckpt"
        trainer.save_checkpoint(last)
        wanted = self.config.checkpoints in ("best", "both")
        if self.improved and wanted and trainer.is_global_zero:
            making = self.folder / ".best.ckpt"
            shutil.copyfile(last, making)
            making.replace(self.folder / "best.ckpt")
        self.improved = False

    def tidy(self) -> None:
        """Delete what a finished run is not to keep."""
        if self.config.checkpoints in ("best", "none"):
            (self.folder / "last.ckpt").unlink(missing_ok=True)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the configuration as plain data beside the weights."""
        checkpoint[KEY] = {"config": asdict(self.config)}

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far, so that a resumed run knows what it must beat."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score of the run that is resumed."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that seglab wrote onto the CPU, refusing anything but plain data.

    Raises:
        RunError: no such file, damaged, holding code, or not written by seglab.
    """
    if not path.is_file():
        raise RunError(f"checkpoint={path}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RunError(
            f"checkpoint={path}: refused: not a checkpoint, or it holds more than tensors and "
            "plain data"
        ) from None
    except Exception as error:  # a damaged pickle may end in any of them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"checkpoint={path}: damaged, or not a checkpoint: {reason}") from None
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        raise RunError(f"checkpoint={path}: not a seglab checkpoint: it holds no configuration")
    return checkpoint


def position(checkpoint: dict[str, Any]) -> tuple[int, tuple[int, int]]:
    """Return the step of a checkpoint, and its epoch and how many batches of it are behind."""
    loops = checkpoint["loops"]["fit_loop"]
    epochs = loops["epoch_progress"]["current"]
    batches = loops["epoch_loop.batch_progress"]["current"]["processed"]
    in_epoch = epochs["started"] > epochs["processed"]
    return checkpoint["global_step"], (epochs["processed"], batches if in_epoch else 0)


def stored_config(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that a checkpoint was trained with, as plain data."""
    config: dict[str, Any] = checkpoint[KEY]["config"]
    return config


def load_weights(task: torch.nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into a task built from its configuration.

    Raises:
        RunError: they belong to another model; names the first tensor that does not fit.
    """
    weights: dict[str, torch.Tensor] = checkpoint["state_dict"]
    own = task.state_dict()
    for name in sorted({*weights, *own}):
        if name not in own or name not in weights or weights[name].shape != own[name].shape:
            shapes = [
                "nothing" if name not in state else str(tuple(state[name].shape))
                for state in (weights, own)
            ]
            raise RunError(
                f"checkpoint={path}: of another model: {name} is {shapes[0]} there and "
                f"{shapes[1]} in the configured model"
            )
    task.load_state_dict(weights)
