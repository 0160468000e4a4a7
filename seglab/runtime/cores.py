"""How many cores there are to share. Imports no torch."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many CPU cores this process may use."""
    # macOS knows no affinity.
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return len(allowed) or os.cpu_count() or 1
