"""What is left of a process whose starter is gone and that does not end by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

STUCK = """
import signal, subprocess, time
from seglab.runtime import worker
worker.GRACE = 0.1
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "300"]).pid, flush=True)
worker._end_after(lambda: None)
time.sleep(300)
"""


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(("detached", "code"), [(True, -signal.SIGKILL), (False, 1)])
def test_a_detached_process_takes_its_own_with_it(detached: bool, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, start_new_session=detached
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.stdout.close()
    assert process.wait(60) == code
    deadline = time.monotonic() + 5
    while detached and not gone(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(child) == detached, "a group that is not its own is left alone"
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
