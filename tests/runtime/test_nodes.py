"""A process that torchrun has started: what it checks before it joins the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.ranks import run_on_ranks

from seglab.config.compose import compose
from seglab.errors import ConfigError
from seglab.runtime.launch import check_world, run
from seglab.schema import TrainConfig


def as_rank(patch: pytest.MonkeyPatch, world: int, here: int, rank: int = 0) -> None:
    patch.setenv("TORCHELASTIC_RUN_ID", "job")
    for name, value in (("RANK", rank), ("WORLD_SIZE", world), ("LOCAL_WORLD_SIZE", here)):
        patch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("devices", "nodes", "world", "here", "right"),
    [
        (1, 1, 2, 1, "2 were started, 1 on this one; give trainer.devices=1 trainer.num_nodes=2"),
        (2, 2, 2, 2, "2 were started, 2 on this one; give trainer.devices=2 trainer.num_nodes=1"),
        (4, 1, 4, 2, "4 were started, 2 on this one; give trainer.devices=2 trainer.num_nodes=2"),
        (2, 1, 3, 2, "3 were started, 2 on this one; start as many on each machine"),
        (2, 2, 4, 2, ""),
    ],
)
def test_as_many_processes_as_configured_must_have_been_started(
    monkeypatch: pytest.MonkeyPatch, devices: int, nodes: int, world: int, here: int, right: str
) -> None:
    given = [f"trainer.devices={devices}", f"trainer.num_nodes={nodes}"]
    trainer = compose("train", TrainConfig, given).config.trainer
    as_rank(monkeypatch, world, here)
    if not right:
        check_world(trainer)
        return
    with pytest.raises(ConfigError, match=f"{' '.join(given)}: .*{right}"):
        check_world(trainer)


def test_several_machines_need_torchrun_or_slurm() -> None:
    trainer = compose("train", TrainConfig, ["trainer.num_nodes=3"]).config.trainer
    with pytest.raises(ConfigError, match=r"torchrun --nnodes=3 .* or by hydra/launcher=slurm"):
        run(print, trainer)


@pytest.mark.parametrize("arguments", [["train", "-m", "seed=0,1"], ["predict"], ["score"]])
def test_what_runs_in_one_process_is_refused_under_torchrun(
    seglab_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    as_rank(monkeypatch, 2, 1)
    answer = seglab_cli(*arguments)
    assert answer.code == 2
    assert "torchrun has started 2 processes, and " in answer.last_line


def differing(rank: int, world: int, folder: Path) -> None:
    import os

    names = {"RANK": rank, "WORLD_SIZE": world, "SEGLAB_RANKS": world}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ["SEGLAB_STORE"] = str(folder / "store")
    given = [f"hydra.run.dir={folder / str(rank)}"]
    assert compose("train", TrainConfig, given).folder == folder / "0"
    with pytest.raises(ConfigError, match=r"seed=0 for the first process and 1 for number 1"):
        compose("train", TrainConfig, [f"seed={rank}"])


def test_processes_agree_on_the_folder_and_refuse_different_settings(tmp_path: Path) -> None:
    run_on_ranks(differing, 2, tmp_path)
