"""Sums over the ranks of a job, of which a gradient is taken.

DDP averages the gradients of the ranks. So the gradient of a sum here is that of the own part times
the number of ranks: averaged, it is the gradient of a single process with all samples.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


class Alone:
    """One process: its part is the whole."""

    @property
    def count(self) -> int:
        """The number of ranks."""
        return 1

    def sum(self, own: Tensor) -> Tensor:
        """Return the sum over the ranks of tensors of one shape."""
        return own

    def join(self, *own: Tensor) -> tuple[Tensor, ...]:
        """Return the vectors of all ranks, one after the other, of any length per rank.

        Args:
            own: vectors of one length and one dtype.
        """
        return own


class Together(Alone):
    """All ranks of the process group; they must call the same methods in the same order."""

    @property
    def count(self) -> int:
        """The number of ranks."""
        return dist.get_world_size()

    def sum(self, own: Tensor) -> Tensor:
        """Return the sum over the ranks of tensors of one shape."""
        total = own.detach().clone()
        dist.all_reduce(total)
        return total + self._scaled(own)

    def join(self, *own: Tensor) -> tuple[Tensor, ...]:
        """Return the vectors of all ranks, one after the other; see :meth:`Alone.join`."""
        rows = torch.stack(own, 1)
        length = torch.tensor([len(rows)], device=rows.device)
        lengths = [torch.zeros_like(length) for _ in range(self.count)]
        dist.all_gather(lengths, length)
        # all_gather needs equal sizes.
        padded = rows.new_zeros(int(max(lengths)), rows.shape[1])
        padded[: len(rows)] = rows.detach()
        gathered = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(gathered, padded)
        parts = [part[: int(size)] for part, size in zip(gathered, lengths, strict=True)]
        parts[dist.get_rank()] = rows.detach() + self._scaled(rows)
        return torch.cat(parts).unbind(1)

    def _scaled(self, own: Tensor) -> Tensor:
        """Return zeros that have the gradient of ``own`` times the number of ranks."""
        return self.count * (own - own.detach())


ALONE = Alone()


def process_group() -> Alone:
    """Return the ranks of the default process group, or this process alone without one."""
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return Together() if several else ALONE
