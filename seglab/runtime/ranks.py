"""The ranks of a job on one machine: processes that find each other through a private file.

torch's own launchers listen on all network interfaces and unpickle what is written to them
(``torch/distributed/elastic/rendezvous/dynamic_rendezvous.py``). Here nothing listens beyond the
loopback interface: the ranks meet in a FileStore in a folder that only this user can enter, and
results come back through pipes. Lightning uses the process group that it finds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, NamedTuple

from rich.console import Console

from seglab import errors
from seglab.printing import printable_lines
from seglab.runtime import signals
from seglab.runtime.nodes import join
from seglab.runtime.worker import detach

GRACE = 5.0
"""Seconds that the other ranks get to end when one has failed."""


class Outcome(NamedTuple):
    """The outcome of a rank; ``value`` is its result, or the type and text of its error."""

    kind: Literal["result", "interrupted", "error", "died"]
    value: Any = None
    traceback: str = ""


def run_ranks(
    context: Any,
    count: int,
    function: Callable[..., Any],
    arguments: Sequence[Any],
    accelerator: str,
    quiet: bool,
) -> Any:
    """Call ``function(*arguments, console)`` on each of ``count`` ranks.

    Args:
        context: of multiprocessing; its processes have imported torch already.
        count: of ranks.
        function: importable by its name.
        arguments: plain data.
        accelerator: ``cpu`` for gloo, anything else for NCCL where there is a GPU.
        quiet: show nothing; otherwise rank 0 shows progress.

    Returns:
        The result of rank 0.

    Raises:
        SeglabError: as ``function``; ProcessError if a rank died, its traceback shown.
        KeyboardInterrupt: the job was interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="seglab-ranks-") as folder:  # mode 0700
        processes, receivers = [], []
        for rank in range(count):
            receiver, sender = context.Pipe(duplex=False)
            log = os.environ.get("SEGLAB_LOG")
            work = (function, arguments, quiet, log)
            meeting = (rank, count, f"{folder}/store", accelerator)
            # Not daemonic: it starts loading processes of its own.
            process = context.Process(target=_rank, args=(sender, work, meeting))
            process.start()
            sender.close()
            processes.append(process)
            receivers.append(receiver)
        with signals.on_first_signal(_tell_ranks):
            outcomes = _collect(processes, receivers)
    failures = [rank for rank, outcome in outcomes.items() if outcome.kind in ("error", "died")]
    if failures:
        if signals.received():  # it arrived before that process had a handler
            raise signals.interruption()
        raise _cause(failures[0], outcomes[failures[0]], processes[failures[0]])
    if any(outcome.kind == "interrupted" for outcome in outcomes.values()):
        raise signals.interruption()
    return outcomes[0].value


def _collect(processes: Sequence[Any], receivers: Sequence[Any]) -> dict[int, Outcome]:
    """Return the outcome of each rank, in the order in which they ended."""
    outcomes: dict[int, Outcome] = {}
    waiting: dict[Any, int] = {receiver: rank for rank, receiver in enumerate(receivers)}
    deadline = None
    while waiting:
        left = None if deadline is None else deadline - time.monotonic()
        ready: list[Any] = wait([*waiting], left) if left is None or left > 0 else []
        if not ready:  # they are blocked waiting for the failed rank
            for rank in waiting.values():
                _kill(processes[rank])
            deadline = None
        for receiver in ready:
            rank = waiting.pop(receiver)
            try:
                outcomes[rank] = receiver.recv()
            except EOFError:
                outcomes[rank] = Outcome("died")
            if outcomes[rank].kind in ("error", "died") and deadline is None:
                deadline = time.monotonic() + GRACE
    for process in processes:
        process.join(GRACE)
    return outcomes


def _kill(process: Any) -> None:
    """Kill a rank and its child processes, which form a session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # it may not have created its session yet


def _tell_ranks(number: int) -> None:
    """Forward a signal to all ranks, including those still starting; each saves and stops."""
    told: set[int] = set()

    def tell() -> None:
        while True:
            for child in multiprocessing.active_children():
                if child.pid is not None and child.pid not in told:
                    told.add(child.pid)
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGTERM)
            time.sleep(0.1)

    signals.write_stderr(
        f"{signal.Signals(number).name}: saves and stops; a second one ends it at once"
    )
    threading.Thread(target=tell, daemon=True).start()


def _rank(sender: Connection, work: Sequence[Any], meeting: Sequence[Any]) -> None:
    """Run as one rank of a job, and send its outcome."""
    function, arguments, quiet, log = work
    rank, count, store, accelerator = meeting
    detach(log)
    signals.silence_signals()
    # Lightning reads these, and starts no processes itself.
    names = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "SEGLAB_RANKS"), str(count))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), **names)
    try:
        _meet(count, store, accelerator)
        outcome = Outcome("result", function(*arguments, Console(quiet=quiet or rank != 0)))
    except KeyboardInterrupt:
        outcome = Outcome("interrupted")
    except Exception as error:
        if "gloo" in str(error) or "NCCL" in str(error):
            time.sleep(1)  # another rank has died: its outcome should arrive first
        outcome = Outcome("error", (error_name(error), str(error)), traceback.format_exc())
    sender.send(outcome)
    sys.exit(0 if outcome.kind == "result" else 1)


def error_name(error: Exception) -> str:
    """Return the name of an error's class, or of the class of ``seglab.errors`` that it is."""
    bases = [base for base in type(error).__mro__ if base.__module__ == errors.__name__]
    return (*bases, type(error))[0].__name__


def _meet(count: int, store: str, accelerator: str) -> None:
    """Join the process group of the job, over the loopback interface alone."""
    import torch.distributed as dist

    file = dist.FileStore(store, count)  # type: ignore[attr-defined]
    join(file, accelerator, one_machine=True)


def _cause(rank: int, outcome: Outcome, process: Any) -> Exception:
    """Return the error of the first rank that failed."""
    if outcome.kind == "died":
        code = process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return errors.ProcessError(f"process {rank} of the job died: {how}")
    name, text = outcome.value
    known = getattr(errors, name, None)
    if isinstance(known, type) and issubclass(known, errors.SeglabError):
        return known(text)
    print(printable_lines(outcome.traceback), file=sys.stderr, end="")
    return errors.ProcessError(f"process {rank} of the job failed: {name}: {text}")
