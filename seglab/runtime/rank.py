"""The rank of this process, and the number of ranks. Imports no torch."""

from __future__ import annotations

import os

from seglab.errors import ConfigError

LAUNCHED = ("SEGLAB_RANKS", "TORCHELASTIC_RUN_ID")
"""What ranks.py and slurm.py, and torchrun, set in each process of a job."""


def rank() -> int:
    """Return the rank of this process in its job; only rank 0 writes."""
    return int(os.environ.get("RANK", 0)) if is_launched() else 0


def world_size() -> int:
    """Return the number of processes of its job."""
    return int(os.environ.get("WORLD_SIZE", 1)) if is_launched() else 1


def local_world_size() -> int:
    """Return how many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if is_launched() else 1


def check_environment() -> None:
    """Check that no environment variable of another launcher makes Lightning wait for processes.

    Lightning would open a port on all network interfaces for them, and a rank that is not 0 would
    write nothing.

    Raises:
        ConfigError: RANK, LOCAL_RANK or WORLD_SIZE is set, and neither seglab nor torchrun did it.
    """
    if is_launched():
        return
    for name, alone in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        if os.environ.get(name, alone) != alone:
            raise ConfigError(
                f"{name}={os.environ[name]} is set, but neither seglab nor torchrun started this "
                f"process: unset it; trainer.devices says how many processes a job has"
            )


def is_launched() -> bool:
    """Return whether this process is a rank: ranks.py, torchrun or SLURM has started it as one."""
    return any(name in os.environ for name in LAUNCHED)
