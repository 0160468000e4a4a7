"""A run from its configuration: data, task, callbacks, loggers and trainer, each built once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
from lightning.pytorch.loggers import Logger
from rich.console import Console
from torch.utils.data import DataLoader

from seglab.callbacks.checkpoints import BestAndLast
from seglab.callbacks.extension import Extension
from seglab.callbacks.failures import Failures
from seglab.callbacks.finite import FiniteNumbers
from seglab.callbacks.interrupts import SaveAndStop
from seglab.callbacks.predictions import PredictionPictures, WritePredictions
from seglab.callbacks.progress import Progress, TrainingProgress
from seglab.callbacks.validation import ValidationRecord, Viewer
from seglab.data.datamodule import VOCDataModule
from seglab.data.digests import Record
from seglab.data.images import ImageBatches, ImagesAhead
from seglab.data.sampling import spread
from seglab.data.weights import balance, is_auto
from seglab.errors import ConfigError, RunError
from seglab.loggers.history import HistoryLogger
from seglab.loggers.track import Tracking, track
from seglab.metrics.counts import unreliable
from seglab.models.weights import load_pretrained
from seglab.printing import print_plain
from seglab.report import reported
from seglab.run.checkpoints import AtomicCheckpointIO, load_weights, origin
from seglab.run.folder import Run
from seglab.run.identity import recorded_weights, weights_digest
from seglab.run.last_checkpoint import Resumed, find_last, set_aside
from seglab.run.paths import CHECKPOINTS
from seglab.run.resume import check_processes
from seglab.run.samples import NUMBER_OF_WORST, SampleWriter
from seglab.run.status import SPEED
from seglab.runtime.disk import disk_errors
from seglab.runtime.memory import available_memory
from seglab.runtime.nodes import everywhere
from seglab.runtime.preemption import stop_on_signals
from seglab.runtime.process import (
    computing,
    seed_everything,
    share_of_cores,
)
from seglab.runtime.progress_bar import CheckProgress
from seglab.runtime.rank import check_environment
from seglab.schema import TrainConfig
from seglab.session.augmentation import build_augmentation
from seglab.session.required_miou import check_required_miou
from seglab.session.trainer import build_callback, build_trainer, interruptible
from seglab.tasks.base import Task
from seglab.tasks.batches import batch_sizes, check_limits, check_memory
from seglab.tasks.factories import build_task

Kind = Literal["train", "evaluate", "predict"]

ACTIVITY = {"train": "training", "evaluate": "evaluation", "predict": "prediction"}


class EvaluationResult(NamedTuple):
    """The result of an evaluation: scores, pictures, and whether the interval is unreliable."""

    scores: dict[str, float]
    pictures: list[Path]
    unreliable: bool


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
        """Load the weights of a checkpoint into the task.

        Raises:
            RunError: they belong to another model.
        """
        load_weights(self.task, checkpoint, path)
        return self

    def _weigh_classes(self) -> dict[str, Any]:
        """Compute ``loss.class_weights=auto``, and return the resolved settings."""
        if not is_auto(self.config):
            return {}
        self.config = balance(self.config, self.data.record(self.data.train_split))
        return {"loss.class_weights": self.config.loss.class_weights}

    def fit(self) -> tuple[dict[str, float], list[Path]]:
        """Train, and return the metrics of ``last.ckpt`` and the pictures.

        Raises:
            SeglabError: names the wrong key or file, and what would be right.
            KeyboardInterrupt: the run was interrupted, and its status says so.
        """
        folder, console = self.folder, self.console
        with computing(self.threads):
            _ = self.tracking
            reached = self.resumed.position
            self.data.check()
            self._check_shared()
            weights_of_classes = self._weigh_classes()
            config = self.config
            check_limits(config, self.data)
            for line in self.data.warnings():
                print_plain(f"warning: {line}", console)
            seed_everything(config.seed)
            if self.resumed.note:
                print_plain(self.resumed.note, console)
            schedule = config.schedule
            own = not isinstance(schedule, dict)
            restart = schedule.restart if own else schedule.get("restart", True)
            if self.extends:
                what = "a new schedule" if restart else "the last learning rates"
                print_plain(
                    f"extends the run from {reached.max_epochs} to {config.trainer.max_epochs} "
                    f"epochs: {what} from step {reached.step}",
                    console,
                )
            weights = recorded_weights(folder)
            if self.resumed.path is None:
                weights = weights_digest(config)
                if config.model.weights is not None:
                    loaded = load_pretrained(self.task.net, config.model.net, config.model.weights)
                    print_plain(str(loaded), console)
            self.task.check_optimizer()  # a wrong argument fails here
            facts = {"data": {**self.data.identity, **weights}}
            run = Run(
                folder,
                asdict(config),
                self.overrides,
                resume=config.resume,
                step=reached.step,
                facts=facts,
            )
            saving = BestAndLast(
                run.checkpoints, config, facts["data"], before=lambda: run.history.sync()
            )
            failures = Failures(config, ACTIVITY[self.kind])
            pictures, record = self._watching(run, config.pictures.every_n_epochs)
            progress = TrainingProgress(console)
            extension = Extension(self.first_step, self.extends, restart)
            callbacks = [failures, FiniteNumbers(folder), extension, saving, record, progress]
            trainer = self.trainer(callbacks, [HistoryLogger(run), *self.tracking.loggers])
            self._check_memory(trainer, self._sizes(self.data.val_split))
            processes = trainer.world_size
            check_processes(config, reached, processes)
            if reached.processes not in (None, processes):
                print_plain(
                    f"resumed on {processes} processes, before on {reached.processes}; "
                    f"data.batch_size={config.data.batch_size}, before {reached.batch_size}",
                    console,
                )
            samples = len(self.data.split(self.data.train_split))
            for line in batch_sizes(config, samples, trainer.world_size):
                print_plain(line, console)
            full = disk_errors(folder, ", and give resume=true to resume from the last checkpoint")
            records = self.data.records
            logged = self.tracking.run(trainer, self.task.net, records, weights_of_classes)
            with stop_on_signals(), reported(run, console), logged, full:
                run.history.rewind(reached.step)
                run.write_splits(self.data.divided)
                if run.leads and self.resumed.note:
                    set_aside(run.checkpoints)
                with failures.explained(), interruptible(trainer):
                    trainer.fit(
                        self.task, self.data, ckpt_path=self.resumed.path, weights_only=True
                    )
                    if self.task.scored_at != trainer.global_step:
                        trainer.validate(self.task, self.data, verbose=False, weights_only=True)
                training = {"train/loss": run.history.last("train/loss")}
                best = {"best/val/mIoU": saving.best, "best/epoch": saving.best_epoch}
                metrics = {**self.task.scores, **training, **best}
                run.write_metrics(metrics)
                run.facts.update({SPEED: progress.speed} if progress.images else {})
                self.tracking.results(metrics, run.checkpoints)
                check_required_miou(config, metrics["val/mIoU"])
            if run.leads:
                saving.tidy()
            return metrics, sorted(pictures.written)

    def _check_shared(self) -> None:
        """Check that all machines of a job see the same data and the same checkpoint.

        Raises:
            RunError: they differ.
        """
        first, *others = everywhere("files", [self.data.identity, self.resumed.position])
        if any(data != first[0] for data, _ in others):
            raise RunError(
                f"data.root={self.config.data.root}: the machines of this job have different data"
            )
        if any(position != first[1] for _, position in others):
            raise RunError(
                f"hydra.run.dir={self.folder}: the machines of this job see different checkpoints; "
                "it must be on a file system that they share"
            )

    def validate(
        self, checkpoint: dict[str, Any], path: Path, own: Mapping[str, Any]
    ) -> EvaluationResult:
        """Measure a checkpoint on the split.

        Args:
            checkpoint: from :func:`seglab.run.checkpoints.read_checkpoint`.
            path: of its file.
            own: the command's own settings, which are recorded too.

        Raises:
            SeglabError: names the wrong key or file, and what would be right.
        """
        with computing(self.threads):
            _ = self.tracking
            record = self.data.record(self.split)
            logged = {**own, **self._weigh_classes()}
            config = self.config
            self._check_division(origin(checkpoint, path)["data"].get(self.named_split), record)
            check_limits(config, self.data, self.split)
            self.load(checkpoint, path)
            facts = {"data": {"val": record.identity}, "checkpoint": origin(checkpoint, path)}
            settings = {**asdict(config), **own}
            run = Run(self.folder, settings, self.overrides, resume=False, facts=facts)
            failures = Failures(config, ACTIVITY[self.kind])
            pictures, watching = self._watching(run, every_n_epochs=0)
            progress = Progress(self.console, "evaluating", len(self.data.split(self.split)))
            trainer = self.trainer([failures, watching, progress])
            self._check_memory(trainer, self._sizes(self.split))
            with (
                reported(run, self.console),
                self._running(trainer, failures, {self.split: record}, logged),
            ):
                trainer.validate(self.task, self.data, verbose=False, weights_only=True)
                run.write_metrics(self.task.scores)
                self.tracking.results(self.task.scores)
            assert self.task.evaluation is not None, "a validation was completed"
            doubtful = unreliable(self.task.evaluation.counts.numpy())
            return EvaluationResult(self.task.scores, sorted(pictures.written), doubtful)

    def predict(
        self,
        batches: ImageBatches,
        own: Mapping[str, Any],
        report: Callable[[WritePredictions], None],
        overlays: bool = True,
    ) -> None:
        """Write the class maps of photographs into the folder.

        Photographs are decoded and predictions written a few at a time, on all cores.

        Args:
            batches: the photographs.
            own: the command's own settings, which are recorded too.
            report: called at the end; an error that it raises marks the W&B run as failed.
            overlays: whether to draw overlays.

        Raises:
            SeglabError: names the wrong key or file, and what would be right.
        """
        with computing(self.threads):
            workers = self.config.data.num_workers
            loader: Iterable[Any] = ImagesAhead(batches)
            if workers:
                loader = DataLoader(batches, batch_size=None, num_workers=workers)
            writing = WritePredictions(self.folder, self.task.classes, overlays)
            self.tracking.prepare(self.folder, self.task.classes, batches.readable)
            failures = Failures(self.config, ACTIVITY[self.kind])
            progress = Progress(self.console, "predicting", batches.readable)
            trainer = self.trainer([failures, writing, progress])
            shapes = {path.name: size for path, size in batches.sizes.items()}
            self._check_memory(trainer, shapes)
            with writing, self._running(trainer, failures, {}, own):
                trainer.predict(self.task, loader, return_predictions=False, weights_only=True)
                self.tracking.results({})
                report(writing)

    def _check_memory(self, trainer: L.Trainer, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Warn of images that are too large for the memory of a CPU, or refuse them."""
        free = available_memory()
        if trainer.strategy.root_device.type != "cpu" or free is None:
            return
        doing = "prediction" if self.kind == "predict" else "evaluation"
        warning = check_memory(self.config, doing, sizes, free // trainer.num_devices)
        if warning is not None:
            print_plain(f"warning: {warning}", self.console)

    def _sizes(self, split: str) -> dict[str, tuple[int, int]]:
        """Return height and width of each image of a split."""
        return dict(zip(self.data.split(split).ids, self.data.sizes(split), strict=True))

    def _check_division(self, recorded: str | None, record: Record) -> None:
        """Check that a part of divided data is the same as in training.

        Raises:
            ConfigError: it differs, and no list of the training images exists.
        """
        data = self.config.data
        if data.val_fraction is None or recorded in (None, record.identity):
            return
        changed = f"data.root={data.root}: the data has changed since training"
        if data.splits is None:
            raise ConfigError(
                f"{changed}, so that data.val_fraction divides it differently; give "
                "data.splits=DIR, the splits/ of the run folder"
            )
        print_plain(f"warning: {changed}; the images are those of {data.splits}", self.console)

    def _watching(
        self, run: Run, every_n_epochs: int
    ) -> tuple[PredictionPictures, ValidationRecord]:
        """Return the pictures of a validation, and the callback that gathers its samples."""
        samples, classes = self.data.split(self.split), self.task.classes
        fixed = spread(len(samples), self.config.pictures.samples)
        self.tracking.prepare(self.folder, classes, len(samples))
        pictures = PredictionPictures(run.predictions, classes, fixed, every_n_epochs)
        keep = SampleWriter(self.folder, samples.ids, classes, fixed)
        viewers: list[Viewer] = [pictures, keep, *self.tracking.viewers]
        shown = fixed.union(*(viewer.places for viewer in self.tracking.viewers))
        worst = NUMBER_OF_WORST if fixed else 0
        return pictures, ValidationRecord(self.task, shown, worst, pictures.draw, viewers)

    @contextmanager
    def _running(
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
