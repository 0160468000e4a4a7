"""Imported by the warm server alone: what torch imports with a process's first optimiser.

That is torch's compiler, which would cost every job seconds; it has no public module to import.
"""

import torch

torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
