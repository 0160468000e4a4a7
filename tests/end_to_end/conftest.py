"""What the end-to-end tests share: a Ctrl-C at a chosen moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest


class StopAt(L.Callback):
    """Interrupts a run when an epoch starts, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    from seglab.session import session

    build_trainer = session.build_trainer

    def at(epoch: int) -> None:
        def with_stop(
            config: Any, folder: Path, callbacks: list[L.Callback], *rest: Any
        ) -> L.Trainer:
            return build_trainer(config, folder, [*callbacks, StopAt(epoch)], *rest)

        monkeypatch.setattr(session, "build_trainer", with_stop)

    return at
