"""seglab soup: the mean of checkpoints of one model, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seglab.run.checkpoints import KEY, read_checkpoint
from seglab.run.soup import soup

PATHS = [Path(f"{name}.ckpt") for name in "abc"]


def checkpoint(value: torch.Tensor, *, seed: int = 0, **model: Any) -> dict[str, Any]:
    config = {"seed": seed, "model": {"net": {"width": 4}, **model}, "data": {"classes": ["a"]}}
    state = {"net.weight": value, "net.count": torch.tensor(seed)}
    data = {"train": "0" * 64, "val": f"{seed}" * 64}
    return {"state_dict": state, "global_step": 7, KEY: {"config": config, "data": data}}


def test_the_mean_of_checkpoints() -> None:
    values = [torch.randn(3, 2) for _ in PATHS]
    given = {p: checkpoint(v, seed=i) for i, (p, v) in enumerate(zip(PATHS, values, strict=True))}
    made = soup(given)
    torch.testing.assert_close(made["state_dict"]["net.weight"], sum(values) / 3)
    assert made["state_dict"]["net.count"] == 0
    assert made[KEY]["config"] == given[PATHS[0]][KEY]["config"]
    assert made[KEY]["data"] == {"train": "0" * 64}, "only what all were trained on"
    assert made[KEY]["soup"] == ["a.ckpt", "b.ckpt", "c.ckpt"]
    assert made["global_step"] == 7


def test_the_mean_of_equal_weights_is_bit_for_bit_their_own() -> None:
    value = torch.randn(1000) * torch.logspace(-30, 30, 1000)
    made = soup({path: checkpoint(value) for path in PATHS})
    assert torch.equal(made["state_dict"]["net.weight"], value)


def commands(folder: str, *more: str) -> list[str]:
    return ["train", f"hydra.run.dir='{folder}'", "logger=csv", *more]


def test_soup_is_a_checkpoint_for_every_command(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    for seed in (0, 1):
        assert seglab_cli(*commands(f"runs/seed={seed}", *tiny, f"seed={seed}")).code == 0
    files = [f"runs/seed={seed}/checkpoints/last.ckpt" for seed in (0, 1)]
    answer = seglab_cli("soup", *files, "output=soups/all.ckpt")
    assert answer.code == 0, answer.err
    assert "soups/all.ckpt: the mean of 2 checkpoints" in answer.out
    made = read_checkpoint(tmp_path / "soups/all.ckpt")
    one, other = (read_checkpoint(tmp_path / path)["state_dict"] for path in files)
    for name, value in made["state_dict"].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[name] + other[name]) / 2)
    assert "optimizer_states" not in made

    evaluated = seglab_cli("evaluate", "checkpoint=soups/all.ckpt", "hydra.run.dir=e")
    assert evaluated.code == 0, evaluated.err
    scores = json.loads((tmp_path / "e/metrics.json").read_text())
    assert 0 <= scores["val/mIoU"] <= 1
    again = seglab_cli(*commands("tuned", *tiny, "model.weights=soups/all.ckpt"))
    assert again.code == 0, again.err
    assert len(made["state_dict"]) == len(one)

    known = (tmp_path / "soups/all.ckpt").read_bytes()
    refused = seglab_cli("soup", *files, "output=soups/all.ckpt")
    assert refused.code == 1
    assert "output=soups/all.ckpt: exists already" in refused.last_line
    assert (tmp_path / "soups/all.ckpt").read_bytes() == known


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (checkpoint(torch.zeros(2), task="instance"), "model.task is instance here and None there"),
        (checkpoint(torch.zeros(3)), "net.weight is (3,) here and (2,) there"),
    ],
)
def test_another_model_is_refused(other: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=r"b\.ckpt: not of the model of a\.ckpt: ") as caught:
        soup({PATHS[0]: checkpoint(torch.zeros(2)), PATHS[1]: other})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "output is not set: give output=FILE.ckpt"),
        (["a.ckpt", "b.ckpt"], 2, "output is not set"),
        (["a.ckpt", "b.ckpt", "output=c.onnx"], 2, "output is not set: give output=FILE.ckpt"),
        (["a.ckpt", "output=c.ckpt"], 2, "1 checkpoints given: give at least two"),
        (["a.ckpt", "a.ckpt", "output=c.ckpt"], 2, "1 checkpoints given: give at least two"),
        (["a.ckpt", "b.ckpt", "output=c.ckpt"], 1, "checkpoint=a.ckpt: no such file"),
    ],
)
def test_wrong_arguments(
    seglab_cli: Callable[..., Any], tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    answer = seglab_cli("soup", *arguments)
    assert answer.code == code
    assert said in answer.last_line
    assert [*tmp_path.iterdir()] == []


def test_trained_batch_norms_are_warned_of(seglab_cli: Callable[..., Any], tmp_path: Path) -> None:
    for name, frozen in (("a", False), ("b", True)):
        content = checkpoint(torch.zeros(2), frozen_norms=frozen)
        content["state_dict"]["net.norm.running_mean"] = torch.zeros(2)
        for number in (0, 1):
            torch.save(content, tmp_path / f"{name}{number}.ckpt")
        files = [f"{name}{number}.ckpt" for number in (0, 1)]
        answer = seglab_cli("soup", *files, f"output={name}.ckpt")
        assert answer.code == 0, answer.err
        assert ("warning: the batch norms were trained" in answer.out) != frozen
