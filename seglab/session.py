"""One run as one call: checks everything, trains, measures. Knows nothing of Hydra."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from rich.console import Console

from seglab.callbacks.bars import Checking
from seglab.callbacks.checkpoints import BestAndLast
from seglab.callbacks.finite import FiniteNumbers
from seglab.callbacks.interrupts import SaveAndStop
from seglab.callbacks.mishaps import Mishaps
from seglab.callbacks.predictions import PredictionPictures
from seglab.callbacks.progress import TrainingProgress
from seglab.callbacks.samples import KeepEvaluation, KeepSamples
from seglab.callbacks.threads import Threads
from seglab.config.instantiate import build
from seglab.data.datamodule import VOCDataModule
from seglab.errors import ConfigError, ProcessError
from seglab.loggers.history import HistoryLogger
from seglab.loggers.track import track
from seglab.models.weights import load_pretrained
from seglab.report import reported
from seglab.runs.checkpoints import START, WholeFiles, find_last, set_aside
from seglab.runs.run import FINISHED, Follower, Run, mark_failed, read_metrics, read_status
from seglab.runs.settings import WEIGHTS, check_processes, check_run, is_trained, weights_identity
from seglab.runtime import launch, signals
from seglab.runtime.collective import PlainDDP
from seglab.runtime.disk import disk_errors
from seglab.runtime.preemption import is_asked, listening
from seglab.runtime.process import prepare, rank, world_size
from seglab.schema import TrainConfig, TrainerConfig
from seglab.tasks.base import Task
from seglab.tasks.batches import batch_sizes, check_limits
from seglab.tasks.factories import build_task
from seglab.text import print_plain


@dataclass(frozen=True)
class JobResult:
    """What a run came to.

    Attributes:
        folder: the run folder.
        metrics: what ``metrics.json`` holds, NaN for what does not exist.
        pictures: the prediction pictures.
        skipped: the run had finished before; nothing was touched.
    """

    folder: Path
    metrics: dict[str, float]
    pictures: list[Path]
    skipped: bool = False


def start_job(
    config: TrainConfig, folder: Path, overrides: Sequence[str] = (), *, quiet: bool = False
) -> JobResult:
    """Call :func:`run_job` here, or on each process of a run on several devices.

    A finished run is left alone, before any process is started.

    Raises:
        SeglabError, KeyboardInterrupt: as :func:`run_job`; a process died.
    """
    state, _ = check_run(config, folder)
    if state == FINISHED:  # before there are ranks to agree on it
        return JobResult(folder, read_metrics(folder), [], skipped=True)
    if not is_trained(folder, state):
        config.model.check_weights_file()
    try:
        result: JobResult = launch.run(
            run_job, config.trainer, config, folder, overrides, quiet=quiet
        )
    except ProcessError as error:
        mark_failed(folder, str(error))
        raise
    return result


def run_job(
    config: TrainConfig,
    folder: Path,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> JobResult:
    """Train one configuration in one run folder.

    Everything that can be wrong with the configuration and the data is found before the folder
    is made and before the first step.

    Raises:
        SeglabError: says which key or file is wrong, and what would be right.
        KeyboardInterrupt: the run was interrupted, and is marked so.
    """
    console = console or Console(quiet=True)
    leads = rank() == 0
    config.trainer.threads = prepare(config.trainer.threads)
    tracking = track(config, "train", overrides, console)
    instances = config.model.task == "instance"
    data = VOCDataModule(config.data, config.seed, Checking(console), instances=instances)
    data.check()
    check_limits(config, data)
    for line in data.warnings():
        print_plain(f"warning: {line}", console)
    L.seed_everything(config.seed, verbose=False)
    task = build_task(config)
    last, reached, note = None, START, ""
    if config.resume:
        last, reached, note = find_last(folder / "checkpoints")
    if note:
        print_plain(note, console)
    if config.model.weights is not None and last is None:
        report = load_pretrained(task.net, config.model.net, config.model.weights)
        print_plain(str(report), console)
    weights = weights_identity(config) if last is None else recorded_weights(folder)
    task.build_optimizer()  # so that a wrong argument is found now; training builds its own
    tracking.prepare(folder, task.classes, len(data.split(config.data.val_split)))
    owner = Run if leads else Follower
    run = owner(
        folder,
        asdict(config),
        overrides,
        resume=config.resume,
        step=reached.step,
        facts={"data": {**data.identity, **weights}},
    )
    pictures = PredictionPictures(
        run.predictions,
        task.classes,
        len(data.split(config.data.val_split)),
        config.pictures.samples,
        config.pictures.every_n_epochs,
    )
    saving = BestAndLast(run.checkpoints, config, data.identity, before=lambda: run.history.sync())
    ids = data.split(config.data.val_split).ids
    keep = KeepSamples(folder, ids, task.classes, config.pictures.samples)
    mishaps = Mishaps(config, "training")
    callbacks: list[L.Callback] = [
        mishaps,
        FiniteNumbers(folder),
        saving,
        pictures,
        KeepEvaluation(keep),
        TrainingProgress(console),
        *tracking.callbacks,
    ]
    callbacks += [build_callback(name, node) for name, node in config.callbacks.items()]
    callbacks.append(SaveAndStop(run.checkpoints))
    trainer = build_trainer(config.trainer, folder, callbacks)
    check_processes(config, reached.processes, trainer.world_size, within_epoch=reached.batches > 0)
    samples = len(data.split(config.data.train_split))
    for line in batch_sizes(config, samples, trainer.world_size):
        print_plain(line, console)
    full = disk_errors(folder, ", and give resume=true to go on from the last checkpoint")
    tracked = tracking.run(trainer, task.net, data.records)
    with listening(), reported(run, console), tracked, full:
        trainer.loggers = [HistoryLogger(run.history), *tracking.loggers]
        data.start = (reached.epoch, reached.batches)
        if leads:
            run.history.rewind(reached.step)
            if note:
                set_aside(run.checkpoints)
        with mishaps.explained(), interruptible(trainer):
            trainer.fit(task, data, ckpt_path=last, weights_only=True)
            metrics = final_metrics(trainer, task, data, run, saving)
        run.write_metrics(metrics)
        tracking.results(metrics, run.checkpoints)
    if leads:
        saving.tidy()
    return JobResult(folder, metrics, sorted(pictures.written))


def recorded_weights(folder: Path) -> dict[str, Any]:
    """Return the digest of the weights that a run started from, if it recorded one."""
    data = read_status(folder).get("data")
    return {WEIGHTS: data[WEIGHTS]} if isinstance(data, dict) and WEIGHTS in data else {}


def build_callback(name: str, node: Any) -> L.Callback:
    """Build a configured callback.

    Raises:
        ConfigError: an argument that it does not take or refuses, or no callback.
    """
    callback = build(node, f"callbacks.{name}")
    if not isinstance(callback, L.Callback):
        raise ConfigError(f"callbacks.{name}._target_: not a lightning.Callback")
    return callback


def build_trainer(
    config: TrainerConfig, folder: Path, callbacks: list[L.Callback], **arguments: Any
) -> L.Trainer:
    """Build Lightning's Trainer; nothing is written before it is used.

    Raises:
        ConfigError: an accelerator, strategy or precision that is not there.
    """
    for name in ("pytorch", "fabric"):  # which devices are unused, which processes are there
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    # Lightning 2.6 asks torch's pytree in a way that torch 2.15 calls old; nothing for our users.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    # A laptop's fast store needs no loading processes; data.num_workers is the user's to choose.
    warnings.filterwarnings("ignore", r"The '\w+_dataloader' does not have many workers")
    # A run that goes on in the middle of an epoch begins where it was: seglab.data.sampling.
    warnings.filterwarnings("ignore", r"You're resuming from a checkpoint that ended before the ep")
    # What every process logs at the end of a validation was computed from all processes' images.
    warnings.filterwarnings("ignore", r"It is recommended to use `self.log\('val/")
    # launch.py has started all processes; where SLURM is installed, it is not to be asked to.
    warnings.filterwarnings("ignore", r"The `srun` command is available on your system but")
    # Frozen layers stay in evaluation mode; that is what frozen means.
    warnings.filterwarnings(
        "ignore", r"Found \d+ module\(s\) in eval mode at the start of training"
    )
    # Ranks are started by ranks.py and found by LOCAL_RANK, or by torchrun; Lightning is to look
    # for no scheduler: within SLURM it would take its own and set signal handlers.
    plugins: list[Any] = [WholeFiles()]
    if not TorchElasticEnvironment.detect():
        plugins.append(LightningEnvironment())
    # Lightning takes bf16 instead; we refuse below.
    warnings.filterwarnings("ignore", r"You passed `Trainer\(accelerator='cpu', precision='16")
    try:
        trainer = L.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            strategy=strategy(config),
            precision=config.precision,  # type: ignore[arg-type]
            max_epochs=config.max_epochs,
            deterministic=config.deterministic,  # type: ignore[arg-type]
            accumulate_grad_batches=config.accumulate_grad_batches,
            sync_batchnorm=config.sync_batchnorm,
            gradient_clip_val=config.gradient_clip_val,
            check_val_every_n_epoch=config.check_val_every_n_epoch,
            limit_train_batches=config.limit_train_batches,
            limit_val_batches=config.limit_val_batches,
            callbacks=[Threads(), *callbacks],
            plugins=plugins,
            logger=False,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # ours neither pads nor repeats
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            **arguments,
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from None
    except ImportError as error:  # such as transformer_engine
        raise ConfigError(f"trainer.precision={config.precision}: {error}") from None
    if world_size() == 1 and trainer.num_devices != launch.ranks(config):
        # Otherwise Lightning would start the missing processes itself.
        raise ConfigError(
            f"trainer.devices={config.devices!r}: give a number, or a list such as 0,1"
        )
    # A signal is a matter of signals.py: Lightning would broadcast it from within its handler.
    trainer._signal_connector = _NoHandlers(trainer)
    if config.precision.startswith("16") and trainer.precision.startswith("bf16"):
        raise ConfigError(f"trainer.precision={config.precision}: not on a CPU; give bf16-mixed")
    return trainer


def strategy(config: TrainerConfig) -> str | PlainDDP:
    """Return Lightning's strategy; that of several processes unpickles nothing.

    One process gets ``auto``, whatever is configured: Lightning's ``ddp`` would join a group of
    one, by a TCPStore that listens on all network interfaces.
    """
    if max(world_size(), launch.ranks(config)) == 1:
        return "auto"
    return PlainDDP(find_unused_parameters=config.strategy.endswith("true"))


class _NoHandlers(_SignalConnector):
    def register_signal_handlers(self) -> None:
        """Leave the handlers as they are."""


@contextmanager
def interruptible(trainer: L.Trainer) -> Iterator[None]:
    """Let an interruption come out as KeyboardInterrupt, which Lightning turns into an exit."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise signals.interruption() from None
        raise
    except RuntimeError as error:
        if is_asked() and "DataLoader worker" in str(error):  # the signal has reached it too
            raise signals.interruption() from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def final_metrics(
    trainer: L.Trainer, task: Task, data: VOCDataModule, run: Run, saving: BestAndLast
) -> dict[str, float]:
    """Return the metrics of ``last.ckpt``, measured now if its step was not validated."""
    if task.scored_at != trainer.global_step:
        trainer.validate(task, data, verbose=False, weights_only=True)
    training = {"train/loss": run.history.last("train/loss")}
    best = {"best/val/mIoU": saving.best, "best/epoch": saving.best_epoch}
    return {**task.scores, **training, **best}
