"""``seglab init``: writes a starter folder for your own net, loss and experiment."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from rich.console import Console

from seglab.errors import ConfigError, RunError
from seglab.printing import print_plain

STARTER = Path(__file__).parents[1] / "starter"
"""What is written: files that this repository's linters and tests check too."""


def main(folder: str) -> None:
    """Write the starter into a folder and print the next steps.

    Raises:
        ConfigError: the folder exists and is not empty, or is a file.
        RunError: it cannot be written.
    """
    target = Path(folder)
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target}: exists and is not an empty folder; give another one")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(STARTER, target, ignore=ignored, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise RunError(f"{target}: cannot be written: {error}") from None
    console = Console()
    lines = (f"cd {shlex.quote(folder)}", "seglab train experiments=my_first", "python -m pytest")
    for line in (f"wrote {target}, where README.md names the files; next:", *lines):
        print_plain(line, console)
