"""Python runs this at its start: notes in the current folder when torch.distributed unpickles."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any


class Noticed(pickle.Unpickler):
    """Leaves ``unpickled-PID`` if a module of torch.distributed makes one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith("torch.distributed"):
            Path(f"unpickled-{os.getpid()}").write_text(caller)
        super().__init__(*arguments, **options)


pickle.Unpickler = Noticed  # type: ignore[misc]  # before torch takes its name for it
