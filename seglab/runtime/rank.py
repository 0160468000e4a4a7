"""Which process of its job this one is. Imports no torch."""

from __future__ import annotations

import os

from seglab.errors import ConfigError

LAUNCHED = ("SEGLAB_RANKS", "TORCHELASTIC_RUN_ID")
"""What ranks.py and torchrun set in each process that they start."""


def rank() -> int:
    """Return the number of this process among those of its job; 0 leads and writes."""
    return int(os.environ.get("RANK", 0)) if _is_launched() else 0


def world_size() -> int:
    """Return how many processes its job has."""
    return int(os.environ.get("WORLD_SIZE", 1)) if _is_launched() else 1


def check_environment() -> None:
    """Check that no leftover of another launcher makes Lightning wait for other processes.

    Lightning would open a port on all network interfaces for them, and a rank that is not 0 would
    write nothing.

    Raises:
        ConfigError: RANK, LOCAL_RANK or WORLD_SIZE is set, and neither seglab nor torchrun did it.
    """
    if _is_launched():
        return
    for name, alone in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        if os.environ.get(name, alone) != alone:
            raise ConfigError(
                f"{name}={os.environ[name]} is set, but neither seglab nor torchrun started this "
                f"process: unset it; trainer.devices says how many processes a job has"
            )


def _is_launched() -> bool:
    return any(name in os.environ for name in LAUNCHED)
