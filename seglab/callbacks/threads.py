"""Keeps the recorded number of threads."""

from __future__ import annotations

import lightning as L
import torch


class Threads(L.Callback):
    """Keeps the number of threads that :func:`seglab.runtime.process.computing` has set.

    Lightning's launcher sets it to the cores' share of each process once more, unless
    OMP_NUM_THREADS is set: ``_set_num_threads_if_needed`` in lightning/fabric/utilities/
    distributed.py.
    """

    def __init__(self) -> None:
        self.threads = torch.get_num_threads()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Set it again, after the launch and before the first number is computed."""
        torch.set_num_threads(self.threads)
