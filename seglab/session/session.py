"""What a run is made of: data, task, callbacks, loggers and trainer, each built once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.loggers import Logger
from rich.console import Console

from seglab.callbacks.failures import Failures
from seglab.callbacks.interrupts import SaveAndStop
from seglab.callbacks.predictions import PredictionPictures
from seglab.callbacks.validation import ValidationRecord, Viewer
from seglab.data.datamodule import VOCDataModule
from seglab.data.sampling import spread
from seglab.data.store.digests import Record
from seglab.data.weights import balance, is_auto
from seglab.loggers.track import Tracking, track
from seglab.printing import print_plain
from seglab.run.checkpoints import AtomicCheckpointIO, load_weights, origin
from seglab.run.folder import Run
from seglab.run.identity import checkpoint_code_change
from seglab.run.last_checkpoint import Resumed, find_last
from seglab.run.paths import CHECKPOINTS
from seglab.run.samples import NUMBER_OF_WORST, SampleWriter
from seglab.runtime.memory import available_memory
from seglab.runtime.process import (
    computing,
    seed_everything,
    share_of_cores,
)
from seglab.runtime.progress_bar import CheckProgress
from seglab.runtime.rank import check_environment
from seglab.schema import TrainConfig
from seglab.session.augmentation import build_augmentation
from seglab.session.trainer import build_callback, build_trainer, interruptible
from seglab.tasks.base import Task
from seglab.tasks.batches import check_memory, validated
from seglab.tasks.factories import build_task

Kind = Literal["train", "evaluate", "predict"]

ACTIVITY = {"train": "training", "evaluate": "evaluation", "predict": "prediction"}


class Session:
    """A task, its data, callbacks, loggers and trainer; each is built on first use.

    Args:
        config: the checked configuration.
        kind: training, evaluation or prediction.
        folder: of the results.
        overrides: the overrides of the command line, which are recorded.
        console: shows progress and one-line notes; None shows nothing.
        split: what is evaluated, as the command line names it; ``val`` means ``data.val_split``.
        soft: whether predictions include probabilities.
    """

    def __init__(
        self,
        config: TrainConfig,
        kind: Kind,
        folder: Path,
        overrides: Sequence[str] = (),
        console: Console | None = None,
        split: str = "val",
        soft: bool = False,
    ) -> None:
        check_environment()
        self.threads = share_of_cores(config.trainer.threads)
        self.config = replace(config, trainer=replace(config.trainer, threads=self.threads))
        self.kind, self.folder, self.overrides = kind, folder, overrides
        self.console = console or Console(quiet=True)
        self.soft = soft
        self.named_split, self.split = split, config.data.split_name(split)

    @cached_property
    def tracking(self) -> Tracking:
        """W&B, if configured: it starts to connect to its server at once."""
        return track(self.config, self.kind, self.folder, self.overrides, self.console)

    @cached_property
    def resumed(self) -> Resumed:
        """The checkpoint that training is resumed from, if any."""
        return find_last(self.folder / CHECKPOINTS) if self.config.resume else Resumed()

    @property
    def extends(self) -> bool:
        """Whether training starts by extending a finished run."""
        return 0 < self.resumed.position.max_epochs < self.config.trainer.max_epochs

    @property
    def first_step(self) -> int:
        """The step of the run at which its schedule starts."""
        return self.resumed.position.step if self.extends else self.resumed.position.first_step

    @cached_property
    def data(self) -> VOCDataModule:
        """The splits of the data set, decoded and checked on first use."""
        return VOCDataModule(
            self.config.data,
            self.config.seed,
            CheckProgress(self.console),
            instances=self.config.model.task == "instance",
            start=self.resumed.position[1:3],
            split=self.named_split,
            augmentation=build_augmentation(self.config) if self.kind == "train" else None,
            limit=self.config.trainer.limit_val_batches,
            # Class weights need the pixels of all samples before the first step.
            progressive=self.kind == "train"
            and self.config.data.store.mode == "progressive"
            and not is_auto(self.config),
        )

    @cached_property
    def task(self) -> Task:
        """The task, with weights drawn from the seed."""
        with computing(self.threads):  # an exported net takes its threads when it is opened
            seed_everything(self.config.seed)
            return build_task(self.config, self.kind == "evaluate", self.first_step, self.soft)

    def trainer(
        self, callbacks: Sequence[L.Callback] = (), loggers: Sequence[Logger] = ()
    ) -> L.Trainer:
        """Build the trainer, with the configured callbacks if it is for training."""
        named = self.config.callbacks.items() if self.kind == "train" else ()
        every = [*callbacks, *self.tracking.callbacks]
        every += [build_callback(name, node) for name, node in named]
        read = {}
        if self.kind == "train":
            # Last, so that the checkpoint contains the effects of all other callbacks.
            every.append(SaveAndStop(self.folder))
            if self.resumed.path is not None:
                read[self.resumed.path] = self.resumed.content
        return build_trainer(
            self.config.trainer, self.folder, every, loggers, AtomicCheckpointIO(read)
        )

    def load(self, checkpoint: dict[str, Any], path: Path) -> Session:
        """Load the weights of a checkpoint into the task, and warn if own code has changed.

        Raises:
            RunError: they belong to another model.
        """
        load_weights(self.task, checkpoint, path)
        for line in checkpoint_code_change(self.config, origin(checkpoint, path)["data"], path):
            print_plain(f"warning: {line}", self.console)
        return self

    def weigh_classes(self) -> dict[str, Any]:
        """Compute ``loss.class_weights=auto``, and return the resolved settings."""
        if not is_auto(self.config):
            return {}
        self.config = balance(self.config, self.data.record(self.data.train_split))
        return {"loss.class_weights": self.config.loss.class_weights}

    def check_memory(self, trainer: L.Trainer, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Warn of images that are too large for the memory of a CPU, or refuse them."""
        free = available_memory()
        if trainer.strategy.root_device.type != "cpu" or free is None:
            return
        doing = "prediction" if self.kind == "predict" else "evaluation"
        warning = check_memory(self.config, doing, sizes, free // trainer.num_devices)
        if warning is not None:
            print_plain(f"warning: {warning}", self.console)

    def sizes(self, split: str) -> dict[str, tuple[int, int]]:
        """Return height and width of each image of a split."""
        return dict(zip(self.data.split(split).ids, self.data.sizes(split), strict=True))

    def watching(
        self, run: Run, every_n_epochs: int
    ) -> tuple[PredictionPictures, ValidationRecord]:
        """Return the pictures of a validation, and the callback that gathers its samples."""
        samples, classes = self.data.split(self.split), self.task.classes
        places = validated(self.config, self.data.sizes(self.split))
        fixed = {places[index] for index in spread(len(places), self.config.pictures.samples)}
        self.tracking.prepare(self.folder, classes, len(samples))
        pictures = PredictionPictures(run.predictions, classes, fixed, every_n_epochs)
        keep = SampleWriter(self.folder, samples.ids, classes, fixed)
        viewers: list[Viewer] = [pictures, keep, *self.tracking.viewers]
        shown = fixed.union(*(viewer.places for viewer in self.tracking.viewers))
        worst = NUMBER_OF_WORST if fixed else 0
        return pictures, ValidationRecord(self.task, shown, worst, pictures.draw, viewers)

    @contextmanager
    def running(
        self,
        trainer: L.Trainer,
        failures: Failures,
        records: Mapping[str, Record],
        own: Mapping[str, Any],
    ) -> Iterator[None]:
        """Log what happens in the block, and explain its errors."""
        logged = self.tracking.run(trainer, self.task.net, records, own)
        with logged, interruptible(trainer), failures.explained():
            yield
