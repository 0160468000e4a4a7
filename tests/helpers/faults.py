"""Faults at a chosen moment of a run, in this process or by a file in another.

Lightning gives every Trainer the callbacks of the entry point ``callbacks_factory``, which
``tests/faults-0.dist-info`` declares: what :func:`armed` holds happens in the next run, whose
configuration stays that of an undisturbed one.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L

_armed: list[L.Callback] = []


def callbacks() -> list[L.Callback]:
    """Return what is armed; Lightning calls this for each Trainer."""
    return list(_armed)


@contextmanager
def armed(fault: L.Callback) -> Iterator[None]:
    """Let the runs in the block meet a fault."""
    _armed.append(fault)
    try:
        yield
    finally:
        _armed.remove(fault)


class StopAt(L.Callback):
    """Interrupts a run when an epoch starts, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


class SignalAt(L.Callback):
    """Sends this process SIGINT when a step starts, which saves and stops the run after it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        if trainer.global_step == self.step:
            signal.raise_signal(signal.SIGINT)
