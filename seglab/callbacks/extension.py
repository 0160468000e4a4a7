"""The schedule of a finished run that is extended by a larger ``trainer.max_epochs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
from torch.optim import Optimizer

from seglab.errors import ConfigError


class Extension(L.Callback):
    """Resets the learning rates when a run is extended, and saves what a resume needs.

    Lightning would restore the rates and the completed schedule of the checkpoint. The moments of
    the optimiser stay.

    Args:
        first_step: the step of the run at which its schedule starts.
        begins: whether this start extends the run, at that step.
        restart: whether the schedule starts again, or the last rates stay.
    """

    def __init__(self, first_step: int, begins: bool, restart: bool) -> None:
        self.first_step, self.begins, self.restart = first_step, begins, restart
        self.rates: list[float] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the schedule that Lightning is about to overwrite."""
        groups = trainer.optimizers[0].param_groups
        self.fresh = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        self.schedules = [entry.scheduler.state_dict() for entry in trainer.lr_scheduler_configs]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the new schedule, with the last rates if they are to stay.

        Raises:
            ConfigError: the checkpoint lacks the last rates.
        """
        if not self.begins:
            return
        groups = trainer.optimizers[0].param_groups
        if not self.restart:
            if len(self.rates) != len(groups):
                raise ConfigError("schedule.restart=false: the checkpoint has no last rates")
            constant = [{"lr": rate, "initial_lr": rate} for rate in self.rates]
            self.fresh = [old | new for old, new in zip(self.fresh, constant, strict=True)]
            self.schedules = [
                {**state, "base_lrs": self.rates, "_last_lr": self.rates}
                for state in self.schedules
            ]
        for group, fresh in zip(groups, self.fresh, strict=True):
            group.update(fresh)
        for entry, state in zip(trainer.lr_scheduler_configs, self.schedules, strict=True):
            entry.scheduler.load_state_dict(dict(state))

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Record the rates of the step."""
        self.rates = [group["lr"] for group in optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"first_step": self.first_step, "rates": self.rates}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the last rates."""
        self.rates = list(state_dict["rates"])
