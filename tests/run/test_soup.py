"""seglab soup: the mean of checkpoints of one model, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seglab.errors import RunError
from seglab.run.checkpoints import KEY, origin, read_checkpoint
from seglab.run.soup import soup

PATHS = [Path(f"{name}.ckpt") for name in "abc"]


def checkpoint(value: torch.Tensor, *, seed: int = 0, **model: Any) -> dict[str, Any]:
    config = {"seed": seed, "model": {"net": {"width": 4}, **model}, "data": {"classes": ["a"]}}
    state = {"net.weight": value, "net.count": torch.tensor(seed)}
    data = {"train": "0" * 64, "val": f"{seed}" * 64}
    return {"state_dict": state, "global_step": 7, KEY: {"config": config, "data": data}}


def ranged(content: dict[str, Any]) -> dict[str, Any]:
    content[KEY]["config"]["data"]["value_range"] = [0, 65535]
    return content


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


def test_equal_weights_are_no_soup() -> None:
    value = torch.randn(3)
    with pytest.raises(RunError, match=r"^c\.ckpt: has the same weights as a\.ckpt; give one of"):
        soup({p: checkpoint(v) for p, v in zip(PATHS, (value, value + 1, value), strict=True)})


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
    assert refused.code == 2
    assert "output=soups/all.ckpt: exists already" in refused.last_line
    assert (tmp_path / "soups/all.ckpt").read_bytes() == known


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            checkpoint(torch.ones(2), task="instance"),
            "model.task is 'instance' here and None there",
        ),
        (checkpoint(torch.ones(3)), "net.weight is (3,) torch.float32 here and (2,) torch.float32"),
        (checkpoint(torch.ones(2).int()), "net.weight is (2,) torch.int32 here and (2,) torch.fl"),
        (ranged(checkpoint(torch.ones(2))), "data.value_range is [0, 65535] here and None there"),
    ],
)
def test_another_model_is_refused(other: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=r"^b\.ckpt: not of the model of a\.ckpt: ") as caught:
        soup({PATHS[0]: checkpoint(torch.zeros(2)), PATHS[1]: other})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "output is given 0 times: give output=FILE.ckpt once"),
        (["a.ckpt", "b.ckpt", "output=c.ckpt", "output=d.ckpt"], 2, "output is given 2 times"),
        (["a.ckpt", "b.ckpt", "output=c.onnx"], 2, "output=c.onnx: must end in .ckpt"),
        (["a.ckpt", "b.ckpt", f"output={'c' * 260}.ckpt"], 2, "cannot be written: File name too l"),
        (["a.ckpt", "output=c.ckpt"], 2, "1 checkpoints given: give at least two"),
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


def write(content: dict[str, Any], path: Path) -> str:
    torch.save(content, path)
    return path.name


def test_doubts_are_told(seglab_cli: Callable[..., Any], tmp_path: Path) -> None:
    def answer(weights: list[str | None], statistics: list[float]) -> str:
        names = []
        for number, (start, value) in enumerate(zip(weights, statistics, strict=True)):
            content = checkpoint(torch.full((2,), float(number)), weights=start)
            content["state_dict"]["net.norm.running_mean"] = torch.tensor([value])
            names.append(write(content, tmp_path / f"{number}.ckpt"))
        (tmp_path / "out.ckpt").unlink(missing_ok=True)
        found = seglab_cli("soup", *names, "output=out.ckpt")
        assert found.code == 0, found.err
        return str(found.out)

    assert "warning" not in answer(["DEFAULT"] * 2, [0, 0])
    for weights in ([None, None], ["DEFAULT", None], ["DEFAULT", "a.pth"]):
        assert "warning: not all start from the same published" in answer(weights, [0, 0])
    assert "warning: the statistics of batch norms" in answer(["DEFAULT"] * 3, [0, 0, 1])


def test_a_damaged_configuration_ends_in_one_line(
    seglab_cli: Callable[..., Any], tmp_path: Path
) -> None:
    contains_itself: dict[str, Any] = {}
    contains_itself["net"] = contains_itself
    names = []
    for number in (0, 1):
        content = checkpoint(torch.full((2,), float(number)))
        content[KEY]["config"]["model"] = contains_itself
        names.append(write(content, tmp_path / f"{number}.ckpt"))
    found = seglab_cli("soup", *names, "output=out/out.ckpt")
    assert found.code == 1
    assert "0.ckpt, 1.ckpt: one has a damaged configuration: " in found.last_line
    assert not (tmp_path / "out").exists()


def test_a_soup_is_told_apart(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    assert seglab_cli(*commands("run", *tiny)).code == 0
    last = tmp_path / "run/checkpoints/last.ckpt"
    content = read_checkpoint(last)
    for value in content["state_dict"].values():
        if value.is_floating_point():
            value.add_(1e-3)
    write(content, tmp_path / "b.ckpt")
    twice = seglab_cli("soup", str(last), str(last), "output=soup.ckpt")
    assert twice.code == 2
    assert twice.last_line.endswith("last.ckpt: given twice")
    assert seglab_cli("soup", str(last), "b.ckpt", "output=soup.ckpt").code == 0
    made = tmp_path / "soup.ckpt"
    assert origin(read_checkpoint(made), made)["mean_of"] == 2
    assert "mean_of" not in origin(read_checkpoint(last), last)
    made.replace(last)
    (last.parent / "previous.ckpt").unlink(missing_ok=True)
    resumed = seglab_cli(*commands("run", *tiny, "resume=true", "trainer.max_epochs=3"))
    assert resumed.code == 1
    assert "last.ckpt: the mean of several runs, which cannot be resumed" in resumed.last_line
