"""Lightning's Trainer, with the changes that seglab needs."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from seglab.callbacks.threads import Threads
from seglab.errors import ConfigError, one_line
from seglab.instantiate import build
from seglab.run.checkpoints import AtomicCheckpointIO
from seglab.runtime import launch, signals
from seglab.runtime.collective import PlainDDP
from seglab.runtime.preemption import stop_requested
from seglab.runtime.rank import world_size
from seglab.schema import TrainerConfig


def build_callback(name: str, node: Any) -> L.Callback:
    """Build a configured callback.

    Raises:
        ConfigError: an unknown or rejected argument, or not a callback.
    """
    callback = build(node, f"callbacks.{name}")
    if not isinstance(callback, L.Callback):
        raise ConfigError(f"callbacks.{name}._target_: not a lightning.Callback")
    return callback


def build_trainer(
    config: TrainerConfig,
    folder: Path,
    callbacks: Sequence[L.Callback] = (),
    loggers: Sequence[Logger] = (),
    checkpoint_io: AtomicCheckpointIO | None = None,
) -> L.Trainer:
    """Build Lightning's Trainer; nothing is written before it is used.

    Args:
        config: the checked configuration.
        folder: the run folder.
        callbacks: called in this order.
        loggers: all of them receive every metric.
        checkpoint_io: reads and writes checkpoints.

    Raises:
        ConfigError: an accelerator, strategy or precision that is not available.
    """
    # ranks.py, slurm.py or torchrun start the ranks. Without this, Lightning inside SLURM would
    # use SLURM's environment and set signal handlers.
    plugins: list[Any] = [checkpoint_io or AtomicCheckpointIO()]
    if not TorchElasticEnvironment.detect():
        plugins.append(LightningEnvironment())
    try:
        trainer = _Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=strategy(config),
            precision=config.precision,
            max_epochs=config.max_epochs,
            deterministic=config.deterministic,
            accumulate_grad_batches=config.accumulate_grad_batches,
            sync_batchnorm=config.sync_batchnorm,
            gradient_clip_val=config.gradient_clip_val,
            check_val_every_n_epoch=config.check_val_every_n_epoch,
            limit_train_batches=config.limit_train_batches,
            callbacks=[Threads(), *callbacks],
            plugins=plugins,
            logger=list(loggers),
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # ours neither pads nor repeats
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {one_line(error)}") from None
    except ImportError as error:  # such as transformer_engine
        raise ConfigError(f"trainer.precision={config.precision}: {error}") from None
    if world_size() == 1 and trainer.num_devices != launch.ranks(config):
        # Otherwise Lightning would start the missing processes itself.
        raise ConfigError(
            f"trainer.devices={config.devices!r}: give a number, or a list such as 0,1"
        )
    if config.precision.startswith("16") and trainer.precision.startswith("bf16"):
        raise ConfigError(f"trainer.precision={config.precision}: not on a CPU; give bf16-mixed")
    return trainer


def strategy(config: TrainerConfig) -> str | PlainDDP:
    """Return Lightning's strategy; for several processes, one without pickle.

    One process gets ``auto``, whatever is configured: Lightning's ``ddp`` would join a group of
    one, by a TCPStore that listens on all network interfaces.
    """
    if max(world_size(), launch.processes(config)) == 1:
        return "auto"
    return PlainDDP(find_unused_parameters=config.strategy.endswith("true"))


class _NoHandlers(_SignalConnector):
    def register_signal_handlers(self) -> None:
        """Leave the handlers as they are."""


class _Trainer(L.Trainer):
    """Lightning's, without its signal handlers: signals.py has ours.

    Lightning's would broadcast from within a handler (lightning/pytorch/trainer/connectors/
    signal_connector.py).
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._signal_connector = _NoHandlers(self)


@contextmanager
def interruptible(trainer: L.Trainer) -> Iterator[None]:
    """Raise KeyboardInterrupt on interruption, which Lightning turns into SystemExit."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise signals.interruption() from None
        raise
    except RuntimeError as error:
        # The signal may have reached a loading process too.
        if stop_requested() and "DataLoader worker" in str(error):
            raise signals.interruption() from None
        raise
    finally:
        if signals.on_main_thread():
            signal.signal(signal.SIGINT, before)
