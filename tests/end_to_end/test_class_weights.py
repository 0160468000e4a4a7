"""``loss.class_weights=auto``: the numbers, their record, and every command with them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers import exports
from helpers.exports import scenes

Cli = Callable[..., Any]
AUTO = "loss.class_weights=auto"


def loss_of(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / ".hydra/config.yaml").read_text())["loss"]  # type: ignore[no-any-return]


def expected(maps: list[np.ndarray], classes: int, power: float = 0.5) -> np.ndarray:
    """Return the weights by plain means; ``classes`` counts those of the maps, void aside."""
    pixels = np.concatenate([one.ravel() for one in maps])
    share = np.array([(pixels == label).sum() for label in range(classes)]) / (pixels < 255).sum()
    with np.errstate(divide="ignore"):
        weights = (np.median(share[share > 0]) / share) ** power
    return np.where(share > 0, weights, 0)


def short(tiny: list[str]) -> list[str]:
    return [one for one in tiny if not one.startswith("data.synth")]


def test_they_follow_from_the_pixels_that_are_trained_on(
    seglab_cli: Cli, tmp_path: Path, tiny: list[str]
) -> None:
    """Of a divided data set, with a class merged, one ignored, and one that does not occur."""
    made = scenes(12)
    exports.write_cvat(tmp_path / "cvat", made)
    with (tmp_path / "cvat/labelmap.txt").open("a") as file:
        file.write("nettle:1,2,3::\n")
    data = ["data=folder", "data.root=cvat", "data.val_fraction=0.25"]
    data += ["data.ignore_classes=[stone]", "data.merge_classes={weed: [nettle]}"]
    power = "loss.class_weights_power=0.25"
    train = ["train", *data, AUTO, power, *short(tiny), "hydra.run.dir=run"]
    answer = seglab_cli(*train)
    assert answer.code == 0, answer.err
    names = (tmp_path / "run/splits/train.txt").read_text().split("\n")
    # Of exports.CLASSES: background 0, weed 1, leaf 2, stone 3; here background, leaf, weed.
    labels = np.array([0, 2, 1, 255] + [255] * 252, np.uint8)
    maps = [labels[scene.class_map] for scene in made if scene.name in names]
    assert len(maps) == 9
    weights = expected(maps, 3, 0.25)
    recorded = loss_of(tmp_path / "run")["class_weights"]
    assert recorded == pytest.approx(weights, rel=1e-7)
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["seglab"]["config"]["loss"]["class_weights"] == recorded

    evaluate = ["evaluate", "checkpoint=run/checkpoints/last.ckpt"]
    assert seglab_cli(*evaluate, "hydra.run.dir=ev").code == 0
    assert seglab_cli(*evaluate, AUTO, "hydra.run.dir=ev2").code == 0
    losses = {
        json.loads((tmp_path / f"{run}/metrics.json").read_text())["val/loss"]
        for run in ("run", "ev", "ev2")
    }
    assert len(losses) == 1
    assert seglab_cli(*evaluate, "loss.class_weights=null", "hydra.run.dir=ev3").code == 0
    other = json.loads((tmp_path / "ev3/metrics.json").read_text())["val/loss"]
    assert other not in losses

    again = seglab_cli(*train, "resume=true")
    assert again.code == 0
    assert "finished before" in again.out
    refused = seglab_cli(*train, "resume=true", "loss.class_weights_power=0.5")
    assert refused.code == 2
    assert "class_weights_power=0.25, not 0.5" in refused.last_line
    refused = seglab_cli(*train, "resume=true", "loss.class_weights=null")
    assert refused.code == 2
    assert "loss.class_weights=[" in refused.last_line


def test_a_run_of_other_numbers_is_no_answer_for_auto(seglab_cli: Cli, tiny: list[str]) -> None:
    train = ["train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run"]
    assert seglab_cli(*train, "loss.class_weights=[1,1,1,1,1,1,2]").code == 0
    answer = seglab_cli(*train, AUTO, "resume=true")
    assert answer.code == 2
    assert "this run has loss.class_weights=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]" in answer.last_line


def test_an_absent_class_weighs_nothing(seglab_cli: Cli, tmp_path: Path, tiny: list[str]) -> None:
    made = scenes(6)
    for scene in made:
        exports.save(scene.image, tmp_path / f"d/images/{scene.name}.png")
        exports.save(scene.class_map, tmp_path / f"d/masks/{scene.name}.png")
    classes = "data.classes=[background,weed,leaf,stone,nettle]"
    data = ["data=pairs", "data.root=d", classes, "data.val_fraction=0.3"]
    assert seglab_cli("train", *data, AUTO, *short(tiny), "hydra.run.dir=run").code == 0
    names = (tmp_path / "run/splits/train.txt").read_text().split("\n")
    maps = [scene.class_map for scene in made if scene.name in names]
    recorded = loss_of(tmp_path / "run")["class_weights"]
    assert recorded == pytest.approx(expected(maps, 5), rel=1e-7)
    assert recorded[-1] == 0


@pytest.mark.slow
def test_a_sweep_and_several_ranks_take_auto(
    seglab_cli: Cli, tmp_path: Path, tiny: list[str]
) -> None:
    sweep = ["train", "-m", *tiny, "trainer.max_epochs=1", "sweep.name=s"]
    sweep.append("loss.class_weights=auto,null")
    answer = seglab_cli(*sweep)
    assert answer.code == 0, answer.err
    runs = {
        run.parent.name.split("-")[0]: run.parent for run in tmp_path.glob("sweeps/s/*/status.json")
    }
    recorded = {name: loss_of(run)["class_weights"] for name, run in runs.items()}
    assert recorded["class_weights_null"] is None
    assert len(recorded["class_weights_auto"]) == 7
    again = seglab_cli(*sweep)
    assert again.code == 0
    with (tmp_path / "sweeps/s/sweep.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert len(list(tmp_path.glob("sweeps/s/*/status.json"))) == 2
    two = ["train", *tiny, "trainer.max_epochs=1", "trainer.devices=2", "data.batch_size=2"]
    answer = seglab_cli(*two, AUTO, "hydra.run.dir=two")
    assert answer.code == 0, answer.err
    assert loss_of(tmp_path / "two")["class_weights"] == recorded["class_weights_auto"]


def test_a_dry_run_says_auto(seglab_cli: Cli, tiny: list[str]) -> None:
    answer = seglab_cli("train", "--dry-run", *tiny, AUTO)
    assert answer.code == 0, answer.err
    assert yaml.safe_load(answer.out)["loss"]["class_weights"] == "auto"


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["loss=smp_dice", "+loss.class_weights=auto"], "only for seglab's own loss, not segm"),
        (
            ["loss._target_=torch.nn.CrossEntropyLoss", AUTO],
            "only for seglab's own loss, not torch",
        ),
        (["loss.class_weights=balanced"], "must be a list of numbers, auto or null"),
        (["loss.class_weights=[1,x]"], "must be a list of numbers, auto or null"),
        ([AUTO, "loss.class_weights_power=2"], "loss.class_weights_power=2.0: must be"),
    ],
)
def test_what_cannot_be_is_refused(
    seglab_cli: Cli, tiny: list[str], overrides: list[str], words: str, dry: list[str]
) -> None:
    answer = seglab_cli("train", *tiny, *overrides, *dry, "hydra.run.dir=run")
    assert answer.code == 2
    assert words in answer.last_line
