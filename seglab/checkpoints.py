"""Checkpoints: written whole, read without pickle, best and last under fixed names."""

from __future__ import annotations

import math
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from seglab.errors import RunError
from seglab.history import atomic
from seglab.schema import TrainConfig

KEY = "seglab"
"""Where a checkpoint keeps the configuration that made it."""

DIGEST = re.compile(r"[0-9a-f]{64}")
"""The identity of a split; see ``seglab.data.identity``."""

SCORE = "val/mIoU"
"""What makes a checkpoint the best."""

LAST, PREVIOUS, DAMAGED = "last.ckpt", "previous.ckpt", "damaged.ckpt"
"""The newest checkpoint, the one before it, and a newest one that turned out to be damaged."""


class WholeFiles(TorchCheckpointIO):
    """Writes beside the old file, flushes, then renames: a killed process leaves the old one.

    What was ``last.ckpt`` before stays as ``previous.ckpt``.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save ``checkpoint`` under ``path``, whole or not at all.

        Raises:
            OSError: the disk is full, or may not be written to; names ``path``.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic(target, binary=True) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch's own, while it closes what it could not write
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
            if target.name == LAST:
                file.flush()
                os.fsync(file.fileno())
                _keep_previous(target)


def _keep_previous(last: Path) -> None:
    """Give the old ``last.ckpt`` its second name, under which it stays when it is replaced."""
    making = last.with_name(f".{PREVIOUS}.{os.getpid()}.part")
    previous = last.with_name(PREVIOUS)
    try:
        os.link(last, making)
        making.replace(previous)
    except FileNotFoundError:
        return  # it is the first
    except OSError:  # a file system without links: for a moment there is only the one before
        last.replace(previous)
    finally:
        making.unlink(missing_ok=True)


class BestAndLast(Checkpoint):
    """Saves ``last.ckpt`` after every epoch, and ``best.ckpt`` when its mIoU is the highest yet.

    ``config.checkpoints`` says which of them a finished run keeps; a run needs ``last.ckpt`` to go
    on after an interruption, so that it is there as long as the run is not finished, as is
    ``previous.ckpt``.

    Args:
        folder: the run's ``checkpoints``.
        config: kept in each of them.
        data: the digests of the training and validation data, kept too.
        before: called before one is written, so that no history is behind it.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        data: Mapping[str, str],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.config, self.data, self.before = folder, config, dict(data), before
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
        if self.improved and self.config.checkpoints in ("best", "both"):
            # First: a run that is killed here goes on from the epoch before, and gets here again.
            trainer.save_checkpoint(self.folder / "best.ckpt")
        trainer.save_checkpoint(self.folder / LAST)
        self.improved = False

    def tidy(self) -> None:
        """Delete what a finished run is not to keep."""
        unwanted = [PREVIOUS, DAMAGED]
        unwanted += [LAST] if self.config.checkpoints in ("best", "none") else []
        for name in unwanted:
            with suppress(OSError):  # it is finished all the same
                (self.folder / name).unlink(missing_ok=True)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the configuration and the identity of the data beside the weights."""
        self.before()
        checkpoint[KEY] = {
            "config": asdict(self.config),
            "data": self.data,
            "processes": trainer.world_size,
        }

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
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:  # torch takes changed numbers without a word
                if (part := file.testzip()) is not None:
                    raise ValueError(f"the checksum of {part} is wrong")
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
    own = checkpoint[KEY]
    if not isinstance(own, dict) or not isinstance(own.get("config"), dict):
        raise RunError(f"checkpoint={path}: damaged: its configuration is no group of keys")
    if (problem := state_problem(checkpoint.get("state_dict"))) is not None:
        raise RunError(f"checkpoint={path}: damaged: {problem}")
    return checkpoint


def state_problem(state: Any) -> str | None:
    """Return why ``state`` is no state dict of plain real tensors; None if it is one."""
    if not isinstance(state, dict) or not state:
        return "it holds no state dict"
    for name, value in state.items():
        if not isinstance(name, str):
            return f"its state dict has the key {name!r}, which is no name"
        if not isinstance(value, torch.Tensor):
            return f"{name} is of type {type(value).__name__}, not a tensor"
        kinds = {
            "sparse": value.layout != torch.strided,
            "without data": value.is_meta,
            "complex": value.is_complex(),
            "quantized": value.is_quantized,
        }
        if wrong := [kind for kind, holds in kinds.items() if holds]:
            return f"{name} is {wrong[0]}, not a plain tensor of real numbers"
    return None


class Position(NamedTuple):
    """How far a checkpoint is.

    Attributes:
        step: the optimiser's.
        epoch: the one that is under way or to come.
        batches: how many of them each process has done in that epoch.
        processes: how many there were; None where the checkpoint does not say.
    """

    step: int
    epoch: int
    batches: int
    processes: int | None = None


START = Position(0, 0, 0)
"""The position of a run that has no checkpoint."""


def find_last(folder: Path) -> tuple[Path | None, Position, str]:
    """Return the checkpoint that a run is resumed from, its position, and what to print about it.

    It is ``last.ckpt``, or the one before if that is damaged; None where there is none.

    Raises:
        RunError: there are some, and all are damaged.
    """
    problems = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.is_file():
            continue
        try:
            reached = position(read_checkpoint(path), path)
        except RunError as error:
            problems.append(str(error).removeprefix("checkpoint="))
            continue
        note = f"{problems[0]}; goes on from {path}, step {reached.step}" if problems else ""
        return path, reached, note
    if problems:
        raise RunError(
            f"{'; '.join(problems)}: delete {folder} to start from the beginning, or give "
            "another hydra.run.dir"
        )
    return None, START, ""


def set_aside(folder: Path) -> None:
    """Rename a damaged ``last.ckpt``, so that it does not take the place of the one before."""
    with suppress(FileNotFoundError):
        (folder / LAST).replace(folder / DAMAGED)


def position(checkpoint: dict[str, Any], path: Path) -> Position:
    """Return how far a checkpoint is that training can be resumed from.

    Raises:
        RunError: it lacks what training goes on with, such as the optimiser's state; Lightning
            would begin that part from the start, without a word.
    """
    for key, kind in (("optimizer_states", list), ("lr_schedulers", list), ("callbacks", dict)):
        states = checkpoint.get(key)
        if not isinstance(states, kind) or not states:
            raise RunError(f"checkpoint={path}: damaged: it holds no {key}")
    if BestAndLast.__qualname__ not in checkpoint["callbacks"]:
        raise RunError(f"checkpoint={path}: damaged: its callbacks hold no best score")
    try:
        loops = checkpoint["loops"]["fit_loop"]
        epochs = loops["epoch_progress"]["current"]
        batches = loops["epoch_loop.batch_progress"]["current"]["processed"]
        in_epoch = epochs["started"] > epochs["processed"]
        found = checkpoint["global_step"], epochs["processed"], batches if in_epoch else 0
        processes = checkpoint[KEY].get("processes")
    except (AttributeError, KeyError, TypeError, IndexError):
        raise RunError(f"checkpoint={path}: damaged: its loops tell no step and epoch") from None
    if not all(type(number) is int and number >= 0 for number in found):
        raise RunError(f"checkpoint={path}: damaged: its step or epoch is no number")
    return Position(*found, processes if type(processes) is int else None)


def stored_config(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that a checkpoint was trained with, as plain data."""
    config: dict[str, Any] = checkpoint[KEY]["config"]
    return config


def origin(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return what an evaluation records of the checkpoint that it measures: name, step, data."""
    data = checkpoint[KEY].get("data")
    digests = data.items() if isinstance(data, dict) else ()
    known = {str(name): value for name, value in digests if DIGEST.fullmatch(str(value))}
    return {"name": path.name, "step": checkpoint.get("global_step"), "data": known}


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
