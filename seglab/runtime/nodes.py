"""Ranks that torchrun or SLURM has started, on one machine or several.

They meet in a store: that of torchrun's agent, or a file in a folder that the machines share. What
has to be the same for all is compared through it, as JSON, before they join a process group.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from seglab.errors import ProcessError, one_line
from seglab.runtime.rank import local_world_size, rank, world_size

STORE = "SEGLAB_STORE"
"""Names the file in which the tasks of a SLURM job meet."""

TORCHRUN = "TORCHELASTIC_RUN_ID"
"""What torchrun sets in each process that it starts."""

_asked: Counter[str] = Counter()


def everywhere(name: str, value: Any) -> list[Any]:
    """Return what each rank has given under a name, in rank order; every rank must call it.

    The ranks that seglab itself has forked agree already: for them, as for one process, the result
    is ``[value]``.

    Args:
        name: of the question.
        value: JSON-compatible.
    """
    if world_size() == 1 or not (STORE in os.environ or TORCHRUN in os.environ):
        return [value]
    _asked[name] += 1
    key = f"seglab/{name}/{_asked[name]}"
    _store().set(f"{key}/{rank()}", json.dumps(value))
    return [json.loads(_store().get(f"{key}/{number}")) for number in range(world_size())]


@cache
def _store() -> Any:
    import torch.distributed as dist

    if STORE in os.environ:
        return dist.FileStore(os.environ[STORE], world_size())  # type: ignore[attr-defined]
    # A client of the agent's.
    return next(dist.rendezvous("env://"))[0]  # type: ignore[attr-defined]


@contextmanager
def joined(accelerator: str) -> Iterator[None]:
    """Join the process group of all ranks; see :func:`join`.

    Raises:
        ProcessError: another rank has ended.
    """
    import torch.distributed as dist

    if not dist.is_initialized():
        join(_store(), accelerator, one_machine=local_world_size() == world_size())
    try:
        yield
    except RuntimeError as error:
        if not any(name in str(error) for name in ("gloo", "NCCL", "TCPStore")):
            raise
        raise ProcessError(
            f"process {rank()} has lost the others of the job: {one_line(error)}"
        ) from error


def join(store: Any, accelerator: str, *, one_machine: bool) -> None:
    """Join the process group that meets in a store; Lightning uses the one that it finds.

    Args:
        store: torch's, of all ranks.
        accelerator: ``cpu`` for gloo, anything else for NCCL where there is a GPU.
        one_machine: whether to talk over the loopback interface alone.
    """
    import torch
    import torch.distributed as dist

    if one_machine:
        # Without such an interface both fail, instead of listening on another one.
        loopback = "lo0" if sys.platform == "darwin" else "lo"
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback
    nccl = accelerator != "cpu" and torch.cuda.is_available()
    dist.init_process_group(
        "nccl" if nccl else "gloo", store=store, rank=rank(), world_size=world_size()
    )
