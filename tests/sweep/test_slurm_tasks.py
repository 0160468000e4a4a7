"""The tasks of a SLURM job: as many as the processes of the training."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seglab.config.compose import compose
from seglab.errors import ConfigError
from seglab.runtime.launch import check_world
from seglab.schema import TrainConfig
from seglab.sweep.tasks import as_rank, layout


def configure(devices: int | str, nodes: int) -> TrainConfig:
    given = [f"trainer.devices={devices}", f"trainer.num_nodes={nodes}"]
    return compose("train", TrainConfig, given).config


@pytest.mark.parametrize(
    ("devices", "num_nodes", "nodes", "tasks", "expected"),
    [
        (1, 1, None, None, (1, 1)),
        (4, 1, None, None, (1, 1)),
        ("auto", 1, None, None, (1, 1)),
        (4, 1, None, 4, (1, 4)),
        (4, 2, None, None, (2, 4)),
        (1, 2, 1, None, (1, 2)),
        (1, 2, 1, 2, (1, 2)),
    ],
)
def test_a_task_is_a_job_or_one_of_its_processes(
    devices: int | str,
    num_nodes: int,
    nodes: int | None,
    tasks: int | None,
    expected: tuple[int, int],
) -> None:
    assert layout(configure(devices, num_nodes).trainer, nodes, tasks) == expected


@pytest.mark.parametrize(
    ("devices", "nodes", "tasks", "why"),
    [
        (4, 2, 2, "nodes=2 .*per_node=2: must be trainer.num_nodes=1 and trainer.devices=4"),
        (2, None, 4, "nodes=1 .*per_node=4: must be trainer.num_nodes=1 and trainer.devices=2"),
        (1, 2, None, "nodes=2 .*per_node=1: must be trainer.num_nodes=1 and trainer.devices=1"),
        ("auto", 2, None, "trainer.devices=auto: give the number on each machine"),
    ],
)
def test_there_must_be_as_many_tasks_as_processes(
    devices: int | str, nodes: int | None, tasks: int | None, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        layout(configure(devices, 1).trainer, nodes, tasks)


def test_a_task_becomes_the_rank_of_its_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ})
    slurm = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "7"}
    slurm |= {"SLURM_RESTART_COUNT": "1", "SLURM_CPUS_PER_TASK": "3"}
    config = as_rank(configure(4, 2), tmp_path, slurm)
    assert config.trainer.threads == 3
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    assert [os.environ[name] for name in names] == ["5", "1", "1", "8", "4"]
    assert os.environ["SEGLAB_STORE"] == str(tmp_path / "ranks-7-1"), "new after each start"
    check_world(config.trainer)
