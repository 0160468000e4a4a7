"""Checkpoints: written whole, read without pickle, best and last under fixed names."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from seglab.errors import RunError
from seglab.models.weights import state_problem
from seglab.runtime.files import atomic

KEY = "seglab"
"""Where a checkpoint keeps the configuration that made it."""

DIGEST = re.compile(r"[0-9a-f]{64}")
"""The identity of a split; see ``seglab.data.identity``."""


LAST, PREVIOUS, DAMAGED = "last.ckpt", "previous.ckpt", "damaged.ckpt"
"""The newest checkpoint, the one before it, and a newest one that turned out to be damaged."""


SAVING = "BestAndLast"
"""Where a checkpoint keeps the state of :class:`seglab.callbacks.checkpoints.BestAndLast`."""


class WholeFiles(TorchCheckpointIO):
    """Writes beside the old file, flushes, then renames: a killed process leaves the old one.

    What was ``last.ckpt`` before stays as ``previous.ckpt``.

    Args:
        read: the checkpoint that is resumed from, which has been read already.
    """

    def __init__(self, read: Resumed | None = None) -> None:
        self.read = read

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the checkpoint at ``path``, on the CPU."""
        if self.read is not None and self.read.path == Path(path):
            content, self.read = self.read.content, None  # so that its memory can be freed
            return content
        return super().load_checkpoint(path, *args, **kwargs)

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
                if any(part.compress_type != zipfile.ZIP_STORED for part in file.infolist()):
                    raise ValueError("it is compressed, as torch writes none")
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


class Resumed(NamedTuple):
    """What a run is resumed from.

    Attributes:
        path: the checkpoint; None where there is none, and the run starts.
        content: what :func:`read_checkpoint` gave.
        position: how far it is.
        note: what to print about it.
    """

    path: Path | None = None
    content: dict[str, Any] = {}  # noqa: RUF012 (of a NamedTuple, never changed)
    position: Position = Position(0, 0, 0)
    note: str = ""


def find_last(folder: Path) -> Resumed:
    """Return the checkpoint that a run is resumed from.

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
            content = read_checkpoint(path)
            reached = position(content, path)
        except RunError as error:
            problems.append(str(error).removeprefix("checkpoint="))
            continue
        note = f"{problems[0]}; goes on from {path}, step {reached.step}" if problems else ""
        return Resumed(path, content, reached, note)
    if problems:
        raise RunError(
            f"{'; '.join(problems)}: delete {folder} to start from the beginning, or give "
            "another hydra.run.dir"
        )
    return Resumed()


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
    if SAVING not in checkpoint["callbacks"]:
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
