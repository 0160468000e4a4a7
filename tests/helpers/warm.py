"""``seglab`` in a process forked from one that has imported torch: on a slow machine, 8 s less.

The server is the one that seglab starts for its ranks and jobs, kept for all tests of a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from seglab.runtime.launch import warm

OWN = {"COLUMNS", "LINES", "PYTHONPATH", "PYTHONSAFEPATH", "PYTEST_CURRENT_TEST"}
"""What a process has otherwise than the server: ranks look at none of it."""


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``seglab`` in a folder, with the environment of this process, for ranks and jobs too."""
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    runs = server._forkserver_pid is not None
    if runs and {name for name, _ in environment(server) ^ os.environ.items()} - OWN:
        server._stop()
    context = warm()
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        # Ranks have the output of the server, unless told; theirs goes to stdout, all of it.
        variables = {**os.environ, "COLUMNS": "200", "SEGLAB_LOG": str(out)}
        address = server._forkserver_address
        given = (str(folder), [*arguments], variables, address, str(out), str(err))
        process = context.Process(target=_main, args=given)
        process.start()
        try:
            process.join(300)
        finally:
            process.kill()
        process.join()
        texts = [path.read_text(encoding="utf-8") for path in (out, err)]
        return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def environment(server: Any) -> set[tuple[str, str]]:
    """Return the variables with which the server was started."""
    pairs = Path(f"/proc/{server._forkserver_pid}/environ").read_bytes().split(b"\0")
    return {
        (name, value)
        for name, _, value in (os.fsdecode(pair).partition("=") for pair in pairs if pair)
    }


def _main(
    folder: str,
    arguments: list[str],
    variables: dict[str, str],
    address: str,
    out: str,
    err: str,
) -> None:
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    # Ranks and jobs are forked from the same server, not from another that imports torch again.
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    server._forkserver_address = address
    server.ensure_running = lambda: None
    forkserver.ensure_running = server.ensure_running
    sys.argv = ["seglab", *arguments]
    warnings.simplefilter("error")
    from seglab.cli import main

    sys.exit(main(arguments))
