"""Batch sampling: a function of seed and epoch in training, of image sizes in evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class EpochOrder(Sampler[tuple[int, int]]):
    """Shuffled (epoch, index) pairs; the order is a function of (seed, epoch) alone.

    A resumed epoch continues at ``start`` (epoch, samples of this process); its length stays that
    of a whole epoch, as Lightning expects.

    Each process takes every ``world_size``-th sample. An incomplete last global batch is dropped,
    so that all processes take the same number of steps; the dropped samples differ per epoch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        self.length, self.seed, self.rank, self.world_size = length, seed, rank, world_size
        self.used = length // (batch_size * world_size) * batch_size * world_size
        self.start = start
        self.epoch = start[0]  # read by loading processes before Lightning sets it

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.used // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        own = order[self.rank : self.used : self.world_size].tolist()
        begun, done = self.start
        for index in own[done if self.epoch == begun else 0 :]:
            yield self.epoch, index


def evaluation_batches(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[list[int]]:
    """Group indices into batches of images of one size, without padding or repetition.

    The batches depend on sizes and batch size alone, not on the number of processes.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, size in enumerate(sizes):
        groups[size].append(index)
    return [
        members[start : start + batch_size]
        for _, members in sorted(groups.items())
        for start in range(0, len(members), batch_size)
    ]


def first_batches(batches: list[list[int]], limit: int | float | None) -> list[list[int]]:
    """Return the batches that ``trainer.limit_val_batches`` leaves, of all processes together.

    Args:
        batches: of the whole split.
        limit: a number of them, a share, rounded down, or None for all.
    """
    if limit is None:
        return batches
    return batches[: int(len(batches) * limit) if isinstance(limit, float) else limit]


def spread(total: int, count: int) -> set[int]:
    """Return ``count`` evenly spaced indices of 0..total-1 (all if there are fewer)."""
    chosen = np.linspace(0, total - 1, min(count, total)).round().astype(int)
    return set(chosen.tolist())
