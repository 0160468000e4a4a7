"""Restores the recorded number of threads."""

from __future__ import annotations

import lightning as L
import torch


class Threads(L.Callback):
    """Restores the number of threads set by :func:`seglab.runtime.process.computing`.

    Lightning's launcher resets it to cores / processes unless OMP_NUM_THREADS is set:
    ``_set_num_threads_if_needed`` in lightning/fabric/utilities/distributed.py.
    """

    def __init__(self) -> None:
        self.threads = torch.get_num_threads()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Set it again, after the launch and before the first computation."""
        torch.set_num_threads(self.threads)
