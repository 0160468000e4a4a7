"""Where Python finds the user's own modules. Imports no torch."""

from __future__ import annotations

import sys
from pathlib import Path


def add_import_path(folder: Path) -> None:
    """Let this process find modules in a folder, after all that are installed.

    Processes that it starts find them too: multiprocessing hands ``sys.path`` on.
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
