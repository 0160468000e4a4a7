"""The ranks of one training as the tasks of one SLURM job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from seglab.errors import ConfigError
from seglab.runtime.launch import processes, ranks
from seglab.runtime.nodes import STORE
from seglab.schema import TrainConfig, TrainerConfig


def layout(trainer: TrainerConfig, nodes: int | None, tasks: int | None) -> tuple[int, int]:
    """Return on how many nodes a job runs, and with how many tasks on each.

    A job on one node is one task, which starts its ranks itself, unless more are asked for.

    Args:
        trainer: says how many ranks there are.
        nodes: ``hydra.launcher.nodes``; None: ``trainer.num_nodes``.
        tasks: ``hydra.launcher.tasks_per_node``; None: one, or one per rank for several machines.

    Raises:
        ConfigError: there are not as many tasks as ranks; names the keys.
    """
    nodes = nodes or trainer.num_nodes
    if max(nodes, tasks or 1, trainer.num_nodes) == 1:
        return 1, 1
    if trainer.devices == "auto":
        raise ConfigError(
            "trainer.devices=auto: give the number on each machine, because a SLURM job of several "
            "tasks is divided before it starts"
        )
    count = processes(trainer)
    tasks = tasks or max(1, count // nodes)
    if nodes * tasks != count or nodes > trainer.num_nodes:
        raise ConfigError(
            f"hydra.launcher.nodes={nodes} hydra.launcher.tasks_per_node={tasks}: must be "
            f"trainer.num_nodes={trainer.num_nodes} and trainer.devices={trainer.devices}: a task "
            "is a process"
        )
    return nodes, tasks


def as_rank(config: TrainConfig, meeting: Path, slurm: Mapping[str, str]) -> TrainConfig:
    """Make this task a rank of its job, and return the configuration with its threads.

    The ranks meet in a file that is new at every start of the job, requeued ones included. No
    store listens on the network.

    Args:
        config: of the job.
        meeting: a private folder that the nodes share.
        slurm: the environment that SLURM gives a task.
    """
    number, here = int(slurm["SLURM_PROCID"]), ranks(config.trainer)
    start = f"{slurm['SLURM_JOB_ID']}-{slurm.get('SLURM_RESTART_COUNT', 0)}"
    # The tasks are dealt in blocks (slurm.py), so the numbers on a node follow each other.
    values: dict[str, Any] = {"RANK": number, "LOCAL_RANK": number % here}
    values |= {"NODE_RANK": number // here, "LOCAL_WORLD_SIZE": here}
    values |= dict.fromkeys(("WORLD_SIZE", "SEGLAB_RANKS"), slurm["SLURM_NTASKS"])
    values |= {STORE: meeting / f"ranks-{start}"}
    os.environ.update({name: str(value) for name, value in values.items()})
    # A task has cores of its own.
    threads = config.trainer.threads or int(slurm.get("SLURM_CPUS_PER_TASK", 1))
    return replace(config, trainer=replace(config.trainer, threads=threads))
