"""Checkpoints: written atomically, read without executing pickle."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from seglab.errors import RunError, one_line
from seglab.models.weights import state_problem
from seglab.run.paths import CHECKPOINTS, LAST, PREVIOUS
from seglab.runtime.files import PART, atomic

KEY = "seglab"
"""The key of the configuration in a checkpoint."""

SOUP = "soup"
"""In that entry of a checkpoint of ``seglab soup``: the paths of those that it is the mean of."""

DIGEST = re.compile(r"[0-9a-f]{64}")
"""The identity of a split; see ``seglab.data.identity``."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file, then renames: a killed process leaves the old checkpoint.

    The earlier ``last.ckpt`` is kept as ``previous.ckpt``.

    Args:
        read: contents of already loaded checkpoints by path; each is emptied once returned, to free
            its memory.
    """

    def __init__(self, read: Mapping[Path, dict[str, Any]] | None = None) -> None:
        self.read = dict(read or {})

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the checkpoint at ``path``, on the CPU."""
        content = self.read.pop(Path(path), None)
        if content is None:
            return super().load_checkpoint(path, *args, **kwargs)
        handed_out = dict(content)
        content.clear()
        return handed_out

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save ``checkpoint`` to ``path`` atomically.

        Raises:
            OSError: the disk is full or read-only; names ``path``.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic(target, binary=True) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # from torch, on closing a partly written file
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
            if target.name == LAST:
                file.flush()
                os.fsync(file.fileno())
                _keep_previous(target)


def _keep_previous(last: Path) -> None:
    """Hard-link the old ``last.ckpt`` as ``previous.ckpt`` before it is replaced."""
    making = last.with_name(f".{PREVIOUS}.{os.getpid():08}{PART}")  # as delete_parts expects it
    previous = last.with_name(PREVIOUS)
    try:
        os.link(last, making)
        making.replace(previous)
    except FileNotFoundError:
        return  # the first checkpoint
    except OSError:  # no hard links here: briefly only previous.ckpt exists
        last.replace(previous)
    finally:
        making.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that seglab wrote onto the CPU, refusing anything but plain data.

    Raises:
        RunError: no such file, damaged, holding code, or not written by seglab.
    """
    if not path.is_file():
        inside = path / CHECKPOINTS / LAST
        instead = f"a folder; give checkpoint={inside}" if inside.is_file() else "no such file"
        raise RunError(f"checkpoint={path}: {instead}")
    try:
        with path.open("rb") as file:  # read once, so that the checked bytes are the loaded ones
            if zipfile.is_zipfile(file):
                archive = zipfile.ZipFile(file)  # torch does not verify checksums
                if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                    raise ValueError("it is compressed, as torch writes none")
                if (part := archive.testzip()) is not None:
                    raise ValueError(f"the checksum of {part} is wrong")
            file.seek(0)
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RunError(
            f"checkpoint={path}: refused: not a checkpoint, or it holds more than tensors and "
            "plain data"
        ) from None
    except Exception as error:  # a damaged pickle may raise any of these
        raise RunError(
            f"checkpoint={path}: damaged, or not a checkpoint: {one_line(error)}"
        ) from None
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        raise RunError(f"checkpoint={path}: not a seglab checkpoint: it holds no configuration")
    own = checkpoint[KEY]
    if not isinstance(own, dict) or not isinstance(own.get("config"), dict):
        raise RunError(f"checkpoint={path}: damaged: its configuration is not a mapping")
    if (problem := state_problem(checkpoint.get("state_dict"))) is not None:
        raise RunError(f"checkpoint={path}: damaged: {problem}")
    return checkpoint


def stored_config(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that a checkpoint was trained with, as plain data."""
    config: dict[str, Any] = checkpoint[KEY]["config"]
    return config


def origin(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the facts that an evaluation records about its checkpoint: name, step, data."""
    data = checkpoint[KEY].get("data")
    digests = data.items() if isinstance(data, dict) else ()
    known = {str(name): value for name, value in digests if DIGEST.fullmatch(str(value))}
    facts = {"name": path.name, "step": checkpoint.get("global_step"), "data": known}
    if (count := members(checkpoint)) > 0:
        facts["mean_of"] = count
    return facts


def members(checkpoint: dict[str, Any]) -> int:
    """Return of how many checkpoints a soup is the mean; 0 for any other checkpoint."""
    own = checkpoint[KEY].get(SOUP)
    return len(own) if isinstance(own, list) else 0


def load_weights(task: torch.nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Load a checkpoint's weights into a task built from its configuration.

    Raises:
        RunError: they belong to another model; names the first tensor that does not fit.
    """
    if "state_dict" not in checkpoint:  # an exported file: its net has them already
        return
    weights: dict[str, torch.Tensor] = checkpoint["state_dict"]
    targets = task.state_dict()
    for name in sorted({*weights, *targets}):
        if name not in targets or name not in weights or weights[name].shape != targets[name].shape:
            shapes = [
                "nothing" if name not in state else str(tuple(state[name].shape))
                for state in (weights, targets)
            ]
            raise RunError(
                f"checkpoint={path}: of another model: {name} is {shapes[0]} there and "
                f"{shapes[1]} in the configured model"
            )
    task.load_state_dict(weights)
