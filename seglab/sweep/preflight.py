"""The checks of ``--dry-run``: the errors that a run would raise at its start.

Nothing is decoded, trained or written, and no lock is needed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from seglab.data.datamodule import check_batch_size
from seglab.data.layouts.lists import SYNTHETIC_LISTS, built_in_root
from seglab.data.layouts.opening import open_files
from seglab.data.weights import is_auto
from seglab.errors import ConfigError, SeglabError
from seglab.models.weights import check_weights
from seglab.run.paths import CHECKPOINTS
from seglab.run.resume import check_processes
from seglab.run.settings import flatten
from seglab.runtime import launch
from seglab.runtime.process import computing
from seglab.schema import LoggerConfig, Mark, TrainConfig, has_mark
from seglab.session import Session
from seglab.session.augmentation import build_augmentation
from seglab.tasks.batches import check_share

HARMLESS = ("seed", "schedule", "optimizer.lr", "optimizer.weight_decay", "trainer.max_epochs")
"""Settings of which the schema allows no value that a run would refuse later."""


def check_job(config: TrainConfig, folder: Path) -> None:
    """Raise the errors that :func:`seglab.sweep.start.run_job` would raise before training.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    samples = _check_data(config)
    if is_auto(config):  # any number will do
        config = replace(config, loss=replace(config.loss, class_weights=None))
    session = Session(replace(config, logger=LoggerConfig("csv")), "train", folder)
    if config.model.weights is not None and session.resumed.path is None:
        check_weights(session.task.net, config.model.net, config.model.weights)
    session.task.check_optimizer()
    with computing(session.threads):
        build_augmentation(config)
        session.trainer()
    reached = session.resumed.position
    split, processes = config.data.split_name("train"), launch.processes(config.trainer)
    size = config.data.batch_size
    check_processes(config, reached, processes)
    check_batch_size(size, processes, split, samples)
    limit = config.trainer.limit_train_batches
    check_share("trainer.limit_train_batches", limit, samples // (size * processes))


def _check_data(config: TrainConfig) -> int:
    """Find every file of both splits; return the number of training samples.

    Raises:
        ConfigError, DataError: the data set cannot be used; names the key or file.
    """
    data, instances = config.data, config.model.task == "instance"
    splits = [data.split_name(name) for name in ("train", "val")]
    if data.synth is not None and not (built_in_root(data) / "VOC2007").is_dir():
        # Created when a run starts, with these lists.
        for name in splits:
            if name not in SYNTHETIC_LISTS:
                raise ConfigError(
                    f"data={data.name}: no list {name}; available: {', '.join(SYNTHETIC_LISTS)}"
                )
        parts = {"train": data.synth.train, "val": data.synth.val}
        images = parts.get(data.train_split, sum(parts.values()))
        return min(images, data.max_images or images)
    train, _ = (open_files(data, name, instances=instances) for name in splits)
    return len(train)


class Checks:
    """Checks of the jobs of a sweep: each once where only harmless settings differ."""

    def __init__(self) -> None:
        self.errors: dict[str, SeglabError | None] = {}

    def problem(self, config: TrainConfig, folder: Path) -> SeglabError | None:
        """Return why a job would be refused, or None."""
        settings = {
            key: value
            for key, value in flatten(asdict(config))
            if not any(key == name or key.startswith(f"{name}.") for name in HARMLESS)
            and (key.startswith("data.") or not has_mark(key, Mark.NO_EFFECT))
        }
        resumed = folder.name if (folder / CHECKPOINTS).is_dir() else ""
        key = json.dumps([settings, resumed], sort_keys=True)
        if key not in self.errors:
            try:
                check_job(config, folder)
                self.errors[key] = None
            except SeglabError as error:
                self.errors[key] = error
        return self.errors[key]
