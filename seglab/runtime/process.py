"""What a process settles before it computes: its threads, and what it does with its memory."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from seglab.runtime.cores import cores

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def rank() -> int:
    """Return the number of this process among those of its job; 0 leads and writes."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Return how many processes its job has."""
    return int(os.environ.get("WORLD_SIZE", 1))


def prepare(threads: int | None) -> int:
    """Prepare this process for training or inference; return its number of CPU threads.

    Another number of threads changes the last bits of logits, so that it is fixed and recorded:
    ``threads``, or its job's share of all cores that this process may use.
    """
    threads = threads or max(1, cores() // world_size())
    torch.set_num_threads(threads)
    _keep_memory()
    # Under deterministic algorithms torch writes NaN to all memory that it hands out, for whoever
    # reads before writing: a seventh of a step's time. Nothing here does, so no number changes.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return threads


def _keep_memory() -> None:
    """Let glibc keep what is freed instead of handing it back to the system.

    Every large tensor of a step would otherwise be mapped anew and zeroed by the kernel, page by
    page: a quarter of the time of a training step of FCN-8s on 2 cores, for a tenth more memory.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
