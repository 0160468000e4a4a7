"""Logs a job's metrics and pictures beyond its run folder, by the ``logger`` setting."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger
from rich.console import Console
from torch import nn

from seglab.data.store.digests import Record
from seglab.errors import ConfigError
from seglab.instantiate import build
from seglab.loggers.wandb.artifacts import upload_checkpoints
from seglab.loggers.wandb.callback import WandbResults
from seglab.loggers.wandb.connection import PROBE_SECONDS, Connection, chosen_mode, connect
from seglab.loggers.wandb.facts import facts, recipe, run_name, tuned
from seglab.loggers.wandb.links import alert, link_best, link_inputs, parent
from seglab.loggers.wandb.logger import WandbLogger, define_metrics
from seglab.loggers.wandb.session import Session
from seglab.printing import print_plain
from seglab.run.settings import flatten
from seglab.run.status import NONE, status
from seglab.runtime.rank import rank
from seglab.schema import TrainConfig


class Tracking:
    """Logs nothing beyond the run folder; the base of the other classes."""

    def __init__(self) -> None:
        self.loggers: list[Logger] = []
        self.callbacks: list[L.Callback] = []
        self.viewers: list[WandbResults] = []
        """What shows a validation; see ``seglab.callbacks.validation``."""

    def prepare(self, folder: Path, classes: tuple[str, ...], total: int) -> None:
        """Create loggers and callbacks; nothing is written yet.

        Args:
            folder: the run folder.
            classes: names in the order of the values.
            total: the number of validated or predicted samples.

        Raises:
            ConfigError: the job cannot be logged as it is configured.
        """

    @contextmanager
    def run(
        self,
        trainer: L.Trainer,
        net: nn.Module,
        data: Mapping[str, Record],
        extra: Mapping[str, Any] | None = None,
    ) -> Iterator[None]:
        """Log what happens in the block, and its status at the end.

        Args:
            trainer: runs the job.
            net: the model.
            data: the splits in use, by name.
            extra: configuration in addition to the job's own.
        """
        yield

    def results(self, metrics: Mapping[str, float], checkpoints: Path | None = None) -> None:
        """Log the results of the job: final metrics and checkpoints, if any."""


def track(
    config: TrainConfig, job_type: str, folder: Path, overrides: Sequence[str], console: Console
) -> Tracking:
    """Create the tracking; for W&B, look up key and server in the background.

    Args:
        config: of the job.
        job_type: train, evaluate or predict.
        folder: the run folder.
        overrides: the command line's.
        console: prints one line about the run.

    Raises:
        ConfigError: another logger than W&B's that cannot be built.
    """
    if isinstance(config.logger, dict):
        return LightningTracking(config, folder)
    if not config.uses_wandb or chosen_mode(config.logger.mode) == "disabled":
        return Tracking()
    return WandbTracking(config, job_type, overrides, console)


class LightningTracking(Tracking):
    """Logs a job with another of Lightning's loggers, on rank zero.

    Raises:
        ConfigError: an unknown or rejected argument, or not a logger.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        super().__init__()
        self.config = config
        logger = build(config.logger, "logger", save_dir=str(folder))
        if not isinstance(logger, Logger):
            raise ConfigError(
                f"logger._target_={config.logger['_target_']}: not a Lightning Logger"
            )
        self.loggers = [logger] if rank() == 0 else []

    @contextmanager
    def run(
        self,
        trainer: L.Trainer,
        net: nn.Module,
        data: Mapping[str, Record],
        extra: Mapping[str, Any] | None = None,
    ) -> Iterator[None]:
        """Log the configuration, and the status at the end."""
        status = "failed"
        for logger in self.loggers:
            logger.log_hyperparams({**dict(flatten(asdict(self.config))), **(extra or {})})
        try:
            yield
            status = "success"
        finally:
            for logger in self.loggers:
                logger.finalize(status)

    def results(self, metrics: Mapping[str, float], checkpoints: Path | None = None) -> None:
        """Log the final metrics."""
        for logger in self.loggers:
            logger.log_metrics(dict(metrics))


class WandbTracking(Tracking):
    """Logs a job to W&B, on rank zero; see :func:`track`."""

    def __init__(
        self, config: TrainConfig, job_type: str, overrides: Sequence[str], console: Console
    ) -> None:
        super().__init__()
        self.config, self.job_type, self.console = config, job_type, console
        self.name = config.logger.run_name or run_name(
            config.model.name, config.data.name, overrides
        )
        self.overrides = overrides
        self.connection: Future[Connection] = Future()
        self.first = rank() == 0
        if self.first:
            # A daemon: a job that ends early does not wait for the connection.
            threading.Thread(target=self._connect, name="wandb", daemon=True).start()

    def prepare(self, folder: Path, classes: tuple[str, ...], total: int) -> None:
        """Make loggers and callbacks.

        Raises:
            ConfigError: online logging was asked for, and there is no key; a registry, and no
                checkpoints to link to it.
        """
        config = self.config
        registry = config.logger.registry
        if registry is not None and not config.logger.checkpoints:
            raise ConfigError(f"logger.registry={registry}: needs logger.checkpoints=true")
        if registry is not None and config.checkpoints == "last":
            raise ConfigError(
                f"logger.registry={registry}: gets the best checkpoint, which checkpoints=last "
                "does not keep; give checkpoints=both"
            )
        if self.first and chosen_mode(config.logger.mode) == "online":
            self.connection.result()
        resumes = status(folder) != NONE
        self.session = Session(folder, config.logger, self.console, resumes=resumes)
        self.logger = WandbLogger(self.session)
        images = config.logger.table_images
        self.shown = WandbResults(self.logger, classes, total, config.pictures, images)
        self.loggers, self.callbacks, self.viewers = [self.logger], [self.shown], [self.shown]

    @contextmanager
    def run(
        self,
        trainer: L.Trainer,
        net: nn.Module,
        data: Mapping[str, Record],
        extra: Mapping[str, Any] | None = None,
    ) -> Iterator[None]:
        """Start a W&B run and always finish it: exit code 0, 1, or 130 if interrupted."""
        self.trainer = trainer
        if not self.first:
            yield
            return
        settings = {**dict(flatten(asdict(self.config))), **(extra or {})}
        settings |= facts(net, trainer.strategy.root_device, data)
        names = self.config.model.name, self.config.data.name
        settings |= {"recipe": recipe(*names, self.overrides)}
        settings |= {"tuned": tuned(settings, self.overrides)}
        self.checkpoint = settings.get("checkpoint") or self.config.model.weights
        settings |= parent(self.checkpoint)
        self.fingerprints = {split: record.identity for split, record in data.items()}
        about = {"name": self.name, "job_type": self.job_type, "config": settings}
        self.session.start(self.connection, define_metrics, **about)
        if self.config.data.num_workers:
            self.session.started()  # no fork while a thread is importing
        exit_code = 1
        try:
            yield
            exit_code = 0
        except KeyboardInterrupt:
            exit_code = 130
            raise
        except Exception as error:
            alerted = error  # a name that outlives the clause
            self.session.do(lambda run: alert(run, alerted))
            raise
        finally:
            self.logger.flush()
            self.session.finish(exit_code)

    def results(self, metrics: Mapping[str, float], checkpoints: Path | None = None) -> None:
        """Log tables and charts, the best epoch and, if configured, the checkpoints."""
        if not self.first:
            return
        self.logger.flush()
        self.session.call_online(lambda run: run.log(self.logger.row | self.shown.results()))
        best = {name: value for name, value in metrics.items() if name.startswith("best/")}
        self.session.do(lambda run: run.summary.update(best))
        if checkpoints is not None and self.config.logger.checkpoints:
            self._upload(metrics, checkpoints)
        name = self.config.data.name
        self.session.link(lambda run: link_inputs(run, name, self.fingerprints, self.checkpoint))

    def _upload(self, metrics: Mapping[str, float], checkpoints: Path) -> None:
        """Log the checkpoints, and link the best one to the registry, if configured."""
        shared = {"model": self.config.model.name, "data": self.config.data.name}
        last = {"epoch": self.trainer.current_epoch - 1, "val/mIoU": metrics["val/mIoU"]}
        top = {"epoch": metrics["best/epoch"], "val/mIoU": metrics["best/val/mIoU"]}
        uploaded: list[Any] = []
        self.session.call_online(
            lambda run: uploaded.append(
                upload_checkpoints(
                    run,
                    artifact_name(self.config, run.id),
                    checkpoints,
                    {**shared, **last},
                    {**shared, **top},
                )
            )
        )
        registry = self.config.logger.registry
        if registry is not None and uploaded:
            linked = self.session.link(lambda run: link_best(run, uploaded[-1], registry))
            if not linked:
                text = f"W&B: not linked to {registry}: logged offline, or refused by the server"
                print_plain(text, self.console)

    def _connect(self) -> None:
        try:
            seconds = min(PROBE_SECONDS, self.config.logger.init_timeout)
            mode = chosen_mode(self.config.logger.mode)
            self.connection.set_result(connect(mode, seconds))
        except BaseException as error:  # raised where the connection is used
            self.connection.set_exception(error)


def artifact_name(config: TrainConfig, run_id: str) -> str:
    """Return the name of a run's model artifact: model, data and run id."""
    return re.sub(r"[^\w.-]+", "-", f"{config.model.name}-{config.data.name}-{run_id}")
