"""Passes Lightning's metrics to the run folder's history."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from seglab.run.folder import Run


class PlainLogger(Logger):
    """The parts of Lightning's logger interface without effect here."""

    name = "seglab"
    version = 0

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Ignored: the run folder contains the configuration, and a W&B run starts with it."""


class HistoryLogger(PlainLogger):
    """Writes ``metrics.csv`` through :class:`~seglab.run.history.History`, each step once.

    Lightning's CSVLogger deletes the file of a resumed run.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add values to the row of ``step``."""
        self.run.history.log(step or 0, metrics)
