"""Every allowed trainer.strategy: nothing listens beyond this machine, and nothing is unpickled."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import torch
from helpers.processes import processes_in, start
from helpers.sockets import listening
from PIL import Image

from seglab.run.checkpoints import KEY

NAMES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
)
LOCAL = {"127.0.0.1", "::1"}


def watched(folder: Path, *command: str) -> tuple[int, str, set[str]]:
    """Run Python; return its exit code, its output, and the addresses it listened on."""
    guard = Path(helpers.__file__).parent / "guard"
    process = start(folder, *command, program=[sys.executable], path=[guard])
    addresses: set[str] = set()
    try:
        for _ in range(1200):
            addresses |= listening(processes_in(folder))
            if process.poll() is not None:
                break
            time.sleep(0.25)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, addresses


def seglab_watched(folder: Path, *arguments: str) -> set[str]:
    code, out, addresses = watched(folder, "-m", "seglab.cli", *arguments)
    assert code == 0, out
    return addresses


def photograph(path: Path, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)


ALL = [("auto", 1), *((name, 2) for name in NAMES)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), ALL)
def test_no_strategy_listens_beyond_the_machine_or_unpickles(
    tmp_path: Path, tiny: list[str], name: str, count: int
) -> None:
    photograph(tmp_path / "a.png")
    many = [f"trainer.strategy={name}", f"trainer.devices={count}"]
    last = "checkpoint=run/checkpoints/last.ckpt"
    train = ["train", *tiny, "trainer.max_epochs=1", *many, "hydra.run.dir=run"]
    alone = ["predict", last, many[0], "input=a.png", "output=maps"]  # takes one process only
    together = ["evaluate", last, *many, "hydra.run.dir=evaluated"]
    for call in (train, alone if count == 1 else together):
        assert seglab_watched(tmp_path, *call) <= LOCAL, call[0]
    assert [*tmp_path.glob("unpickled-*")] == []


def test_the_witness_sees_what_torch_opens_and_unpickles(tmp_path: Path) -> None:
    code = """
import time, torch, torch.distributed as dist
from torch.distributed import distributed_c10d as c10d
store = dist.TCPStore("127.0.0.1", 0, 1, True)
tensor, size = c10d._object_to_tensor("text", torch.device("cpu"), dist.group.WORLD)
assert c10d._tensor_to_object(tensor, size, dist.group.WORLD) == "text"
time.sleep(1)
"""
    done, out, addresses = watched(tmp_path, "-c", code)
    assert done == 0, out
    assert not addresses <= LOCAL
    assert len([*tmp_path.glob("unpickled-*")]) == 1


@pytest.mark.parametrize("name", ["fsdp", "ddp_spawn", "ddp_notebook", "deepspeed", "DDP", "dp"])
@pytest.mark.parametrize("count", [1, 2])
def test_other_strategies_are_refused_by_name(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, name: str, count: int
) -> None:
    many = [f"trainer.strategy={name}", f"trainer.devices={count}"]
    answer = seglab_cli("train", *tiny, *many, "hydra.run.dir=run")
    assert answer.code == 2
    assert answer.err == (
        f"seglab: error: trainer.strategy={name}: must be one of {', '.join(NAMES)}\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("devices", ["' 2 '", "'3 '"])
def test_devices_that_only_lightning_understands_are_refused(
    seglab_cli: Callable[..., Any], tiny: list[str], devices: str
) -> None:
    """It would start the second process by its own launcher, which listens on the network."""
    answer = seglab_cli("train", *tiny, f"trainer.devices={devices}", "hydra.run.dir=run")
    assert answer.code == 2
    assert answer.err.startswith("seglab: error: trainer.devices=")
    assert answer.err.count("\n") == 1


def test_a_checkpoint_does_not_choose_processes_loading_or_the_store(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    done = seglab_cli("train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert done.code == 0, done.err
    content = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    config = content[KEY]["config"]
    config["trainer"] |= {"strategy": "ddp_spawn", "devices": 40}
    config["data"] |= {"num_workers": 10**6}
    config["data"]["store"] |= {"max_gb": 1e-9}
    torch.save(content, tmp_path / "theirs.ckpt")
    photograph(tmp_path / "a.png")
    answer = seglab_cli("evaluate", "checkpoint=theirs.ckpt", "hydra.run.dir=evaluated")
    assert answer.code == 0, answer.err
    answer = seglab_cli("predict", "checkpoint=theirs.ckpt", "input=a.png", "output=maps")
    assert answer.code == 0, answer.err
    many = ["trainer.devices=2", "input=a.png", "output=other"]
    answer = seglab_cli("predict", "checkpoint=theirs.ckpt", *many)
    assert answer.code == 2
    assert "trainer.devices=2: predict runs in one process" in answer.last_line
    assert not (tmp_path / "other").exists()
