"""What the tests of sweeps and ranks share."""

from __future__ import annotations

import time
from pathlib import Path


def processes_of(folder: Path) -> list[int]:
    """Return the processes that work in a folder; a while is given to them to end."""
    for _ in range(100):
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").readlink() == folder:
                    found.append(int(process.name))
            except OSError:
                continue
        if not found:
            break
        time.sleep(0.1)
    return found
