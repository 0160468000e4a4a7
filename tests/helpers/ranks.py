"""Runs a function on several processes at once."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path


def run_on_ranks(join: Callable[[int, int, Path], None], world: int, folder: Path) -> None:
    """Call ``join(rank, world, folder)`` in ``world`` processes, and wait for all of them."""
    # A fork of this process, which has run threads, might hang; a server imports torch just once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "hypothesis.extra.numpy", "torchmetrics"])
    ranks = [
        context.Process(target=join, args=(rank, world, folder), daemon=True)
        for rank in range(world)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0] * world
