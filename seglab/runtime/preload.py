"""Imported by the warm server alone: what torch imports with a process's first optimiser.

That is torch's compiler, seconds of every job otherwise; it has no public module to import.
"""

import torch

torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
