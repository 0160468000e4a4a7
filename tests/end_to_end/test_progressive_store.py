"""Training while the store is filled: the same weights, on any number of processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.warm import command

from seglab.data.synthetic import SyntheticSpec, write_tree


def weights(run: Path) -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(value.equal(second[name]) for name, value in first.items())


def test_a_progressive_store_changes_no_weight(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    own = ["data.store.mode=progressive", "data.store.dir=own"]
    for number, arguments in enumerate((["hydra.run.dir=whole"], own, own)):
        folder = [] if number == 0 else [f"hydra.run.dir=run{number}"]
        answer = seglab_cli("train", *tiny, *arguments, *folder)
        assert answer.code == 0, answer.err
        line = "training starts while the store of train is filled"
        assert answer.out.count(line) == (number == 1), "the second start knows all"
    assert same(tmp_path / "whole", tmp_path / "run1")
    assert same(tmp_path / "whole", tmp_path / "run2")
    facts = [
        json.loads((tmp_path / name / "status.json").read_text())["data"]
        for name in ("whole", "run1")
    ]
    assert facts[0] == facts[1]
    weighed = [*tiny, *own, "loss.class_weights=auto", "data.store.dir=weighed"]
    answer = seglab_cli("train", *weighed, "hydra.run.dir=weighed-run")
    assert answer.code == 0, answer.err
    assert "checking train" in answer.out, "class weights need all masks"


def test_a_bad_mask_fails_the_run_in_one_line(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    write_tree(tmp_path / "own", SyntheticSpec(train=8, val=5, width=64, height=48))
    mask = tmp_path / "own/VOC2007/SegmentationClass/000001.png"
    assert mask.is_file()
    mask.write_bytes(b"no picture")
    settings = [one for one in tiny if not one.startswith("data.synth.")]
    settings += ["data=voc2007", "data.root=own", "data.store.mode=progressive"]
    answer = seglab_cli("train", *settings, "hydra.run.dir=run")
    assert (answer.code, answer.err.count("\n")) == (1, 1), answer.err
    assert f"{mask.name}: " in answer.err
    assert json.loads((tmp_path / "run/status.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_two_processes_share_a_store_that_one_of_them_fills(
    tmp_path: Path, tiny: list[str]
) -> None:
    ddp = [*tiny, "trainer.devices=2", "trainer.strategy=ddp"]
    for name, mode in (("whole", "complete"), ("run", "progressive")):
        settings = [f"data.store.mode={mode}", f"data.store.dir={name}-store"]
        done = command(tmp_path, "train", *ddp, *settings, f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stdout + done.stderr
    assert same(tmp_path / "whole", tmp_path / "run")
