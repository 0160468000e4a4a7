"""The memory of a process: its allocator, and what is free. Imports no torch."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_memory() -> None:
    """Let glibc keep what is freed instead of returning it to the system.

    Otherwise the kernel maps and zeroes every large tensor of a step again: a quarter of the time
    of a training step of FCN-8s on 2 cores. It costs a tenth more memory. It cannot be undone, so
    only processes of the command line call it.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = ctypes.CDLL(None).mallopt  # torch runs on no other C library of Linux
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def available_memory() -> int | None:
    """Return how many bytes Linux can give to a process without swapping; None elsewhere."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^MemAvailable: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
