"""The only place that starts processes: the jobs of a sweep, and the ranks of a job.

All are forked from one warm server that has imported torch and touched no device, started no
thread and read no configuration (``multiprocessing``'s forkserver). Arguments cross the process
boundary as plain data. Lightning never starts ranks itself: its launcher would replay the command
line, and in a sweep the ranks would read different jobs from it (lightning#11300).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.console import Console

from seglab.errors import ConfigError
from seglab.printing import print_plain, printable_lines
from seglab.runtime import signals
from seglab.runtime.cores import cores
from seglab.runtime.nodes import joined
from seglab.runtime.rank import (
    check_environment,
    is_launched,
    local_world_size,
    rank,
    world_size,
)
from seglab.runtime.ranks import run_ranks
from seglab.runtime.worker import detach
from seglab.schema import TrainerConfig

PRELOADED = ["seglab.runtime.preload", "seglab.session", "seglab.commands.evaluate"]
"""What the server imports, torch first, so that no job has to."""

WANDB = ["wandb.sdk.launch", "requests"]
"""What a job that is logged to W&B imports, most of it not before its run starts."""


def warm(more: Sequence[str] = ()) -> Any:
    """Start the warm server, and return the context whose processes are forked from it.

    The server has this process's module path, and survives a scheduler's signal to all processes of
    a job.

    Args:
        more: further modules to import, if it is not running yet.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *more])
    handler = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # The server is `python -c`, which without PYTHONSAFEPATH would import from the current folder.
    names = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ.update(names)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGUSR2, handler)
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
    return context


def ranks(trainer: TrainerConfig) -> int:
    """Return the number of processes of a job on each machine: one per device."""
    devices = trainer.devices
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    if str(devices).isdecimal():
        return int(devices)
    if trainer.accelerator not in ("auto", "gpu", "cuda"):
        return 1
    import torch

    return max(1, torch.cuda.device_count())


def processes(trainer: TrainerConfig) -> int:
    """Return the number of processes of a job on all its machines."""
    return ranks(trainer) * trainer.num_nodes


def run(
    function: Callable[..., Any], trainer: TrainerConfig, *arguments: Any, quiet: bool = False
) -> Any:
    """Call ``function(*arguments, console)`` here, or on each rank of a job of several devices.

    A process that torchrun or SLURM has started is a rank already, and starts no others.

    Args:
        function: importable by its name, as are the classes of its arguments and of its result.
        trainer: says how many ranks there are.
        arguments: plain data.
        quiet: show nothing; otherwise rank zero shows progress.

    Returns:
        The result of ``function``, from rank zero if there are several.

    Raises:
        SeglabError: as ``function``; ProcessError if a rank died, its traceback shown; ConfigError
            if another number of processes was started than is configured.
        KeyboardInterrupt: the job was interrupted.
    """
    check_environment()
    count = ranks(trainer)
    threads = trainer.threads or 1
    if count * threads > cores() and not quiet:
        print_plain(
            f"warning: trainer.threads={threads} x {count} (trainer.devices) on {cores()} cores: "
            "the result is the same as on more cores, but slower",
            Console(stderr=True),
        )
    if is_launched():
        check_world(trainer)
        with joined(trainer.accelerator) if world_size() > 1 else nullcontext():
            return function(*arguments, Console(quiet=quiet or rank() != 0))
    if trainer.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer.num_nodes}: a job on several machines is started by "
            f"torchrun --nnodes={trainer.num_nodes} … -m seglab train … on each of them, or by "
            "hydra/launcher=slurm; hydra/launcher=local and ray run a job on one machine"
        )
    if count == 1:
        return function(*arguments, Console(quiet=quiet))
    return run_ranks(warm(), count, function, arguments, trainer.accelerator, quiet)


def check_world(trainer: TrainerConfig) -> None:
    """Check that torchrun or SLURM has started as many processes as are configured.

    Raises:
        ConfigError: another number, on this machine or in all; gives the right keys.
    """
    here, total = local_world_size(), world_size()
    if (ranks(trainer), processes(trainer)) == (here, total):
        return
    right = f"give trainer.devices={here} trainer.num_nodes={total // here}"
    if total % here:
        right = "start as many on each machine"
    raise ConfigError(
        f"trainer.devices={trainer.devices} trainer.num_nodes={trainer.num_nodes}: "
        f"{processes(trainer)} processes, {ranks(trainer)} on each machine, but {total} were "
        f"started, {here} on this one; {right}"
    )


class Process:
    """A job in its own process, isolated from other jobs, crashes and signals.

    Args:
        function: to call, importable by its name; it may exit the process.
        arguments: plain data.
        log: file for its output.
        devices: ``CUDA_VISIBLE_DEVICES``, set before torch looks; None leaves it as it is.
    """

    def __init__(
        self, function: Callable[..., Any], arguments: Sequence[Any], log: Path, devices: str | None
    ) -> None:
        target = (function, arguments, str(log.resolve()), devices)
        # Not daemonic: it may start ranks and loading processes of its own.
        self.process: BaseProcess = warm().Process(target=_job, args=target)
        self.process.start()

    def poll(self) -> str | None:
        """Return None while it runs, then the error; an empty string on success."""
        if self.process.is_alive():
            return None
        code = self.process.exitcode or 0
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return {0: "", 130: "interrupted", 143: "interrupted"}.get(code, f"exit code {code}")

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        _send(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Kill it and its child processes."""
        _send(self.process.pid, signal.SIGKILL, group=True)


def _send(pid: int | None, number: int, group: bool = False) -> None:
    try:
        if pid is not None:
            os.killpg(pid, number) if group else os.kill(pid, number)
    except ProcessLookupError:
        pass


def _job(
    function: Callable[..., Any], arguments: Sequence[Any], log: str, devices: str | None
) -> None:
    """Run as the process of one job."""
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    detach(log)
    try:
        function(*arguments)
    except KeyboardInterrupt as interruption:
        sys.exit(signals.exit_code(interruption))
    except Exception:
        print(printable_lines(traceback.format_exc().rstrip()), file=sys.stderr)
        sys.exit(1)


def visible_devices() -> list[str]:
    """Return what ``CUDA_VISIBLE_DEVICES`` may name, one entry per GPU.

    Called in a separate process, because a process that has initialised CUDA must not fork.
    """
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = torch.cuda.device_count()
    return given.split(",")[:found] if given else [str(index) for index in range(found)]
