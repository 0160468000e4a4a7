"""Detaches a process forked from the warm server: session, output and lifetime."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

from seglab.runtime import signals
from seglab.runtime.memory import keep_memory

GRACE = 30.0
"""Seconds that a process gets to end when the one that asked for it is gone."""


def detach(log: str | None) -> None:
    """Detach a forked process from the server: session, output and lifetime."""
    os.setsid()  # Ctrl-C in a terminal reaches the command alone, which passes it on once
    signals.install()  # the server ignores SIGINT
    keep_memory()
    if log is not None:
        write_to(log)
    _exit_with_parent(multiprocessing.parent_process())


def write_to(log: str) -> None:
    """Append the output of this process and its ranks to a file."""
    os.environ["SEGLAB_LOG"] = log
    with open(log, "ab") as file:  # noqa: PTH123 (a handle)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def end_with_starter() -> None:
    """End this process when the one that started it, such as torchrun's agent, has ended."""
    starter = os.getppid()

    def ended() -> None:
        while os.getppid() == starter:
            time.sleep(1)

    _end_after(ended)


def _exit_with_parent(parent: Any) -> None:
    """End this process when its parent has ended for any reason."""
    _end_after(lambda: wait([parent.sentinel]))


def _end_after(event: Callable[[], object]) -> None:
    def watch() -> None:
        event()
        os.kill(os.getpid(), signal.SIGINT)  # as on Ctrl-C, so that the run is marked interrupted
        time.sleep(GRACE)
        if os.getpgrp() == os.getpid():  # detached: its loading processes are in its group
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
