"""The checkpoint that a run is resumed from: ``last.ckpt``, or the one before if it is damaged."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from seglab.errors import RunError
from seglab.run.checkpoints import KEY, members, read_checkpoint, stored_config
from seglab.run.paths import DAMAGED, LAST, PREVIOUS

SAVING, EXTENSION = "BestAndLast", "Extension"
"""The keys of the states of classes of ``seglab.callbacks`` in a checkpoint."""


class Position(NamedTuple):
    """The progress of a checkpoint.

    Attributes:
        step: of the optimiser.
        epoch: the current or next one.
        batches: done per process in that epoch.
        processes: their number; None if the checkpoint lacks it.
        max_epochs: of the run that wrote it.
        first_step: at which its schedule started: 0, or that of its extension.
        batch_size: samples per process and batch; None if the checkpoint lacks it.
    """

    step: int
    epoch: int
    batches: int
    processes: int | None = None
    max_epochs: int = 0
    first_step: int = 0
    batch_size: int | None = None


class Resumed(NamedTuple):
    """The checkpoint that a run is resumed from.

    Attributes:
        path: None if there is no checkpoint and the run starts.
        content: from :func:`read_checkpoint`; emptied when training takes it.
        position: its progress.
        note: printed if ``last.ckpt`` is damaged.
    """

    path: Path | None = None
    content: dict[str, Any] = {}  # noqa: RUF012 (never mutated)
    position: Position = Position(0, 0, 0)
    note: str = ""


def find_last(folder: Path) -> Resumed:
    """Return the checkpoint that a run is resumed from.

    It is ``last.ckpt``, or the one before if that is damaged; None where there is none.

    Raises:
        RunError: all that exist are damaged.
    """
    problems = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = read_checkpoint(path)
            progress = position(content, path)
        except RunError as error:
            problems.append(str(error).removeprefix("checkpoint="))
            continue
        note = f"{problems[0]}; resumes from {path}, step {progress.step}" if problems else ""
        return Resumed(path, content, progress, note)
    if problems:
        raise RunError(
            f"{'; '.join(problems)}: delete {folder} to start from the beginning, or give "
            "another hydra.run.dir"
        )
    return Resumed()


def set_aside(folder: Path) -> None:
    """Rename a damaged ``last.ckpt``, so that it does not replace ``previous.ckpt``."""
    with suppress(FileNotFoundError):
        (folder / LAST).replace(folder / DAMAGED)


def position(checkpoint: dict[str, Any], path: Path) -> Position:
    """Return the progress of a checkpoint that training can be resumed from.

    Raises:
        RunError: it lacks a state that training needs, such as the optimiser's; Lightning would
            reset that part silently.
    """
    if members(checkpoint):
        raise RunError(
            f"checkpoint={path}: the mean of several runs, which cannot be resumed; a new run can "
            "start from it: model.weights=FILE"
        )
    for key, kind in (("optimizer_states", list), ("lr_schedulers", list), ("callbacks", dict)):
        states = checkpoint.get(key)
        if not isinstance(states, kind) or not states:
            raise RunError(f"checkpoint={path}: damaged: it holds no {key}")
    if SAVING not in checkpoint["callbacks"]:
        raise RunError(f"checkpoint={path}: damaged: its callbacks contain no best score")
    try:
        loops = checkpoint["loops"]["fit_loop"]
        epochs = loops["epoch_progress"]["current"]
        batches = loops["epoch_loop.batch_progress"]["current"]["processed"]
        in_epoch = epochs["started"] > epochs["processed"]
        numbers = checkpoint["global_step"], epochs["processed"], batches if in_epoch else 0
        processes = checkpoint[KEY].get("processes")
        config = stored_config(checkpoint)
        max_epochs = config.get("trainer", {}).get("max_epochs", 0)
        batch_size = config.get("data", {}).get("batch_size")
        first_step = checkpoint["callbacks"].get(EXTENSION, {}).get("first_step", 0)
    except (AttributeError, KeyError, TypeError, IndexError):
        raise RunError(f"checkpoint={path}: damaged: its loops contain no step and epoch") from None
    if not all(type(n) is int and n >= 0 for n in (*numbers, max_epochs, first_step)):
        raise RunError(f"checkpoint={path}: damaged: its step or epoch is not a number")
    processes = processes if type(processes) is int else None
    batch_size = batch_size if type(batch_size) is int else None
    return Position(*numbers, processes, max_epochs, first_step, batch_size)
