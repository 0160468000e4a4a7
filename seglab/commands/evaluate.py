"""``seglab evaluate``: metrics of a checkpoint on a split, with an interval of mIoU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from seglab.config.compose import Composed, compose_own
from seglab.config.stored import check_checkpoint, check_root, override_stored, stored_classes
from seglab.config.stored_classes import renamed_classes
from seglab.printing import print_plain
from seglab.run.status import check_folder, splits_folder
from seglab.runtime.import_path import add_import_path
from seglab.runtime.import_torch import import_torch
from seglab.runtime.rank import rank
from seglab.schema import EvaluateConfig, TrainConfig

if TYPE_CHECKING:
    from seglab.session import EvaluationResult


def main(overrides: list[str]) -> dict[str, float]:
    """Evaluate ``checkpoint=FILE`` on ``split=val`` and write ``metrics.json`` into a run folder.

    Overrides apply on top of the configuration stored in the checkpoint.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    composed, rest = compose_own("evaluate", EvaluateConfig, overrides)
    check_folder(composed.folder, resume=False)
    check_root(rest)
    check_checkpoint(composed.config.checkpoint)
    # Not before: it takes seconds, and a wrong key should fail at once.
    import_torch()
    from seglab.commands.tables import show_metrics, show_paths
    from seglab.config.trusted_data import check_received_group, check_received_list
    from seglab.export.reading import received_model
    from seglab.loggers.wandb.artifacts import local_checkpoint
    from seglab.runtime.launch import run

    if composed.config.trust:
        add_import_path(Path.cwd())
    path = local_checkpoint(composed.config.checkpoint)
    _, stored = received_model(path, composed.config.trust, rest)
    stored["trainer"]["limit_val_batches"] = None  # a run may validate on a part
    config = override_stored(stored, rest)
    console = Console(quiet=rank() != 0)
    if warning := renamed_classes(stored_classes(stored), config.data.classes or ()):
        print_plain(f"warning: {warning}", console)
    if not composed.config.trust:
        check_received_list(config.data, composed.config.split, path, rest)
    if config.data.val_fraction is not None and config.data.splits is None:
        # The run's own lists, not a new division: images may have been added since.
        folder = splits_folder(path)
        data = replace(config.data, splits=None if folder is None else str(folder))
        config = replace(config, data=data)
    if not composed.config.trust:
        check_received_group(config.data, composed.config.split, path, rest)
    measured: EvaluationResult = run(measure, config.trainer, config, path, composed, overrides)
    show_metrics(measured.scores, console, measured.unreliable)
    show_paths(composed.folder, measured.pictures, console)
    return measured.scores


def measure(
    config: TrainConfig,
    path: Path,
    composed: Composed[EvaluateConfig],
    overrides: list[str],
    console: Console,
) -> EvaluationResult:
    """Measure a checkpoint, in each process of the job.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    from seglab.export.reading import read_model
    from seglab.session import Session, validate

    command_config = composed.config
    session = Session(config, "evaluate", composed.folder, overrides, console, command_config.split)
    return validate(session, read_model(path), path, composed.plain)
