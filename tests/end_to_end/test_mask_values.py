"""What the values of masks mean: 0 and 255, colours, values that nobody named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import seglab
from seglab.errors import ConfigError, DataError

Write = Callable[[np.ndarray], Image.Image]


def person(index: int) -> np.ndarray:
    """Return where the person is in image ``index``."""
    mask = np.zeros((40, 50), dtype=bool)
    mask[10:30, 5 + index : 25 + index] = True
    return mask


def grey(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


def grey_as_rgb(mask: np.ndarray) -> Image.Image:
    return grey(mask).convert("RGB")


def palette_values(mask: np.ndarray) -> Image.Image:
    picture = grey(mask)
    picture.putpalette([*range(256)] * 3)
    return picture


def red(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask[..., None].astype(np.uint8) * np.uint8([128, 0, 0]))


def red_palette(mask: np.ndarray) -> Image.Image:
    return red(mask).quantize(2)


def write(root: Path, picture: Write, images: int = 6) -> Path:
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(images):
        pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"JPEGImages/{index}.png")
        picture(person(index)).save(root / f"SegmentationClass/{index}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("0\n1\n2\n3\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("4\n5\n")
    return root


@pytest.fixture
def overrides(tiny: list[str]) -> list[str]:
    tiny = [override for override in tiny if not override.startswith("data.synth")]
    return ["data=folder", "data.root=own", *tiny, "trainer.max_epochs=1"]


@pytest.mark.parametrize("command", ["train", "check"])
def test_masks_of_0_and_255_are_no_labels_and_the_error_knows_the_way(
    seglab_cli: Callable[..., Any], overrides: list[str], tmp_path: Path, command: str
) -> None:
    write(tmp_path / "own", grey)
    arguments = [*overrides, "data.classes=[background,person]"]
    if command == "train":
        answer = seglab_cli("train", *arguments, "hydra.run.dir=run")
        line = answer.last_line
    else:
        answer = seglab_cli("data", "check", *arguments[:2], arguments[-1])
        line = answer.out
    assert answer.code == 1
    assert "no pixel of a class other than background" in line
    assert "0 (80.0%), 255 (20.0%)" in line
    assert "data.mask_values={0: background, 255: person}" in line
    assert not (tmp_path / "run").exists()


def test_the_way_named_for_vocs_classes_is_an_example(
    seglab_cli: Callable[..., Any], overrides: list[str], tmp_path: Path
) -> None:
    write(tmp_path / "own/VOC2007", grey)
    answer = seglab_cli("train", *overrides, "data=voc2007")
    assert answer.code == 1
    assert "'data.mask_values={0: background, 255: person}'" in answer.last_line


CASES: dict[str, tuple[Write, str]] = {
    "grey": (grey, "data.mask_values={0: background, 255: person}"),
    "grey as RGB": (grey_as_rgb, "data.mask_values={0: background, 255: person}"),
    "palette": (palette_values, "data.mask_values={0: background, 255: person}"),
    "colours": (red, "data.mask_values={0/0/0: background, 128/0/0: person}"),
    "palette colours": (red_palette, "data.mask_values={0/0/0: background, 128/0/0: person}"),
}


@pytest.mark.parametrize("case", CASES)
def test_named_values_train_evaluate_and_score(
    seglab_cli: Callable[..., Any], overrides: list[str], tmp_path: Path, case: str
) -> None:
    picture, given = CASES[case]
    write(tmp_path / "own", picture)
    answer = seglab_cli("train", *overrides, given, "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {"val/IoU/background", "val/IoU/person"} < set(metrics)
    evaluated = seglab_cli("evaluate", "checkpoint=run/checkpoints/last.ckpt", "hydra.run.dir=ev")
    assert evaluated.code == 0, evaluated.err
    again = json.loads((tmp_path / "ev/metrics.json").read_text())
    assert again["val/mIoU"] == metrics["val/mIoU"]

    predictions = tmp_path / "perfect"
    predictions.mkdir()
    for index in (4, 5):
        Image.fromarray(person(index).astype(np.uint8)).save(predictions / f"{index}.png")
    scored = seglab_cli(
        "score", *overrides[:2], given, "predictions=perfect", "hydra.run.dir=score"
    )
    assert scored.code == 0, scored.err
    assert json.loads((tmp_path / "score/metrics.json").read_text())["val/mIoU"] == 1
    assert seglab_cli("data", "check", *overrides[:2], given).code == 0


def test_values_can_be_named_in_a_file(
    seglab_cli: Callable[..., Any],
    overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """YAML reads 0 as a number and 128/0/0 as text; both are keys."""
    from seglab.config.overrides import home

    for name in ("conf", "experiments"):
        shutil.copytree(home() / name, tmp_path / "home" / name)
    for module in ("hydra", "overrides"):
        monkeypatch.setattr(f"seglab.config.{module}.home", lambda: tmp_path / "home")
    for picture, values in ((grey, "0: background, 255: person"), (red, "128/0/0: person")):
        root = write(tmp_path / picture.__name__, picture)
        recipe = tmp_path / "home/experiments/people.yaml"
        recipe.write_text(
            "# @package _global_\n"
            "defaults:\n  - override /data: folder\n"
            f"data:\n  mask_values: {{{values}, 0/0/0: background}}\n"
        )
        answer = seglab_cli(
            "train", "experiments=people", *overrides[1:], f"data.root={root}",
            f"hydra.run.dir=run-{picture.__name__}",
        )  # fmt: skip
        assert answer.code == 0, answer.err


def test_the_order_of_the_classes_and_void(tmp_path: Path) -> None:
    def three(mask: np.ndarray) -> Image.Image:
        values = mask.astype(np.uint8) * 255
        values[0] = 7
        return Image.fromarray(values)

    write(tmp_path, three)
    given = {"255": "person", "0": "background", "7": "void"}
    data = seglab.VOCSegmentation(tmp_path, mask_values=given)
    assert data.classes == ("person", "background")
    expected = torch.from_numpy(np.where(person(1), 0, 1).astype(np.uint8))
    expected[0] = 255
    assert data[1].class_map.equal(expected)
    data = seglab.VOCSegmentation(
        tmp_path, mask_values=given, classes=["background", "cat", "person"]
    )
    assert data[1].class_map.unique().tolist() == [0, 2, 255]
    both = {"255": "person", "7": "person", "0": "background"}
    assert seglab.VOCSegmentation(tmp_path, mask_values=both)[1].class_map[0].eq(0).all()


def test_a_value_that_is_not_named_is_an_error_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, grey)
    data = seglab.VOCSegmentation(tmp_path, mask_values={0: "background", 1: "person"})
    with pytest.raises(DataError) as caught:
        data[0]
    assert str(caught.value).startswith(f"{tmp_path}/SegmentationClass/0.png: value 255 at row 10")
    assert "column 5 is not listed in data.mask_values" in str(caught.value)
    shutil.rmtree(tmp_path / "SegmentationClass")
    shutil.rmtree(tmp_path / "JPEGImages")
    shutil.rmtree(tmp_path / "ImageSets")
    write(tmp_path, red)
    data = seglab.VOCSegmentation(tmp_path, mask_values={"0": "background", "1/0/0": "person"})
    with pytest.raises(DataError, match=r"0\.png: colour \(128, 0, 0\).*data\.mask_values .*/0/0"):
        data[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{0: background, 256: person}", "'256' is not a mask value"),
        ("{0: background, 1/2: person}", "'1/2' is not a mask value"),
        ("{0: background, x: person}", "'x' is not a mask value"),
        ("{0: background, -1: person}", "'-1' is not a mask value"),
        ("{0: background, 1: void}", "1 classes"),
        ("{0: background, 0/0/0: person, 00/0/0: person}", "are the same value"),
        ("[background,person]", "data.mask_values"),
        ("person", "data.mask_values"),
        ("{0: background, 255: null}", "data.mask_values"),
        ("{0: background, 255: person} data.classes=[background,cat]", "'person' is not in"),
    ],
)
def test_values_that_cannot_be_meant(
    seglab_cli: Callable[..., Any], overrides: list[str], tmp_path: Path, given: str, says: str
) -> None:
    write(tmp_path / "own", grey)
    value, *more = given.split(" data.")
    more = [f"data.{override}" for override in more]
    answer = seglab_cli("train", *overrides, f"data.mask_values={value}", *more)
    assert answer.code == 2, answer.err
    assert answer.err.count("\n") == 1
    assert "data.mask_values" in answer.last_line
    assert says in answer.last_line


def test_classes_that_no_training_mask_shows_are_named_in_one_warning(
    seglab_cli: Callable[..., Any], overrides: list[str], tmp_path: Path
) -> None:
    write(tmp_path / "own", lambda mask: Image.fromarray(mask.astype(np.uint8)))
    arguments = [*overrides, "data.classes=[background,person,cat,dog]"]
    answer = seglab_cli("train", *arguments, "schedule.warmup_steps=0", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    lines = [line for line in answer.out.splitlines() if line.startswith("warning")]
    assert lines == ["warning: data.train_split=train: no pixel of cat, dog"]
    checked = seglab_cli("data", "check", arguments[0], arguments[1], arguments[-1])
    assert checked.code == 0
    assert "no pixel of cat, dog" in checked.out


def test_evaluation_of_other_values_keeps_the_models_classes(
    seglab_cli: Callable[..., Any], overrides: list[str], tmp_path: Path
) -> None:
    write(tmp_path / "own", lambda mask: Image.fromarray(mask.astype(np.uint8)))
    classes = "data.classes=[background,person]"
    answer = seglab_cli("train", *overrides, classes, "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    write(tmp_path / "other", grey)
    evaluate = ["evaluate", "checkpoint=run/checkpoints/last.ckpt", "data.root=other"]
    answer = seglab_cli(
        *evaluate, "data.mask_values={255: person, 0: background}", "hydra.run.dir=ev"
    )
    assert answer.code == 0, answer.err
    scores = [json.loads((tmp_path / f"{run}/metrics.json").read_text()) for run in ("run", "ev")]
    assert scores[0]["val/mIoU"] == scores[1]["val/mIoU"]


def test_a_class_list_without_a_name_of_the_values_is_refused(tmp_path: Path) -> None:
    write(tmp_path, grey)
    with pytest.raises(ConfigError, match="'person' is not in"):
        seglab.VOCSegmentation(
            tmp_path, mask_values={"0": "background", "255": "person"}, classes=["background", "x"]
        )
