"""Commands in processes of their own, and which processes are left of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SEGLAB = (sys.executable, "-W", "error", "-m", "seglab.cli")

ASSERT_NO_TORCH = """
import sys
from seglab.cli import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules, "torch was imported"
sys.exit(code)
"""
WITHOUT_TORCH = (sys.executable, "-c", ASSERT_NO_TORCH)
"""``seglab``, which fails if it has imported torch."""


def start(
    folder: Path, *arguments: str, program: Sequence[str] = SEGLAB, path: Sequence[Path] = ()
) -> subprocess.Popen[str]:
    """Start a command in a folder, with the modules that this process can import.

    Args:
        folder: the current folder.
        arguments: of the program.
        program: by default ``seglab``, for which a warning is an error.
        path: more folders of modules, before the others.
    """
    modules = os.pathsep.join([*map(str, path), *sys.path])
    return subprocess.Popen(
        [*program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": modules, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fresh(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``seglab`` in a process that shares nothing with others, as a shell would."""
    process = start(folder, *arguments)
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


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
