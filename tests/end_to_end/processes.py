"""What the tests of sweeps and ranks share."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path


def processes_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                pids.append(int(process.name))
    return pids


def processes_of(folder: Path) -> list[int]:
    """Return the processes that work in a folder; a while is given to them to end."""
    for _ in range(100):
        if not (pids := processes_in(folder)):
            break
        time.sleep(0.1)
    return pids
