"""Imported by the warm server alone: torch, and what it imports with a process's first optimiser.

That is torch's compiler, which would cost every job seconds; it has no public module to import.
"""

from seglab.runtime.import_torch import import_torch

import_torch()

import torch  # noqa: E402

torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
