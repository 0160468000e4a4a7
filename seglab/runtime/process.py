"""Process state that affects results: threads, torch's flags, random generators."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from seglab.runtime.cores import cores
from seglab.runtime.nodes import everywhere
from seglab.runtime.rank import local_world_size

LIGHTNING = ("lightning.pytorch", "lightning.fabric")
"""Loggers that tell which devices are unused and which processes there are."""

EXPECTED = (
    # Lightning 2.6 asks torch's pytree in a way that torch 2.15 calls old; nothing for our users.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # A laptop's fast store needs no loading processes; data.num_workers is the user's to choose.
    r"The '\w+_dataloader' does not have many workers",
    # A run that is resumed within an epoch starts where it was: seglab.data.sampling.
    r"You're resuming from a checkpoint that ended before the ep",
    # What every process logs at the end of a validation was computed from all processes' images.
    r"It is recommended to use `self.log\('val/",
    # launch.py starts all processes; Lightning suggests srun wherever SLURM is installed.
    r"The `srun` command is available on your system but",
    # Frozen layers stay in evaluation mode; that is what frozen means.
    r"Found \d+ module\(s\) in eval mode at the start of training",
    # Lightning takes bf16 instead; seglab refuses.
    r"You passed `Trainer\(accelerator='cpu', precision='16",
)
"""Warnings of Lightning that seglab answers for."""


def share_of_cores(threads: int | None) -> int:
    """Return ``threads``, or if that is None this process's share of the cores."""
    # The least of all machines: every process computes with the number that is recorded.
    return threads or min(everywhere("threads", max(1, cores() // local_world_size())))


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Compute with this number of CPU threads, and restore the process state afterwards.

    The number of threads changes the last bits of logits, so it is fixed and recorded. Whatever the
    block changes is restored: environment, torch's flags, random generators, warning filters and
    the levels of Lightning's loggers.
    """
    environment = dict(os.environ)
    levels = {name: logging.getLogger(name).level for name in LIGHTNING}
    flags = _flags()
    with warnings.catch_warnings(), random_generators_kept():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message)
        for name in LIGHTNING:
            logging.getLogger(name).setLevel(logging.WARNING)
        # Under deterministic algorithms torch writes NaN to all memory that it hands out, for
        # whoever reads before writing: a seventh of a step's time. Nothing here does, so no number
        # changes.
        _set_flags((threads, *flags[1:5], False))
        # On import, albumentations asks a server for its latest version unless this is set
        # (albumentations/__init__.py).
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        try:
            yield
        finally:
            _set_flags(flags)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            for key in os.environ.keys() - environment.keys():
                del os.environ[key]
            os.environ.update(environment)


@contextmanager
def random_generators_kept() -> Iterator[None]:
    """Restore the random generators of Python, numpy and torch, after an error too.

    Lightning's ``isolate_rng`` does so only after a block without an error
    (lightning/pytorch/utilities/seed.py).
    """
    isolation = isolate_rng()
    isolation.__enter__()
    try:
        yield
    finally:
        isolation.__exit__(None, None, None)


def seed_everything(seed: int) -> None:
    """Seed the random generators of Python, numpy and torch; ``computing`` restores them."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


Flags = tuple[int, bool, bool, bool, bool, bool]


def _flags() -> Flags:
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )


def _set_flags(flags: Flags) -> None:
    threads, deterministic, warn_only, cudnn_deterministic, benchmark, fill = flags
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.backends.cudnn.deterministic = cudnn_deterministic
    torch.backends.cudnn.benchmark = benchmark
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
