"""The command lines of docs/your-data.md, on each layout; and what becomes of a division."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import exports
from helpers.exports import CLASSES, scenes
from PIL import Image
from test_object_runs import SMALL

PAGE = Path(__file__).parents[2] / "docs/your-data.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]
SHORT = [
    "trainer.max_epochs=2", "data.batch_size=4", "data.crop_size=32", "trainer.accelerator=cpu",
    "pictures.samples=2", "data.eval_batch_size=2", "logger=csv",
]  # fmt: skip
TINY_NET = ["model.net.channels=8", "model.net.dilations=[1,2]"]
Cli = Callable[..., Any]


def write_all(folder: Path) -> None:
    """Write a data set for each ``data.root`` of the page."""
    made = scenes()
    exports.write_cvat(folder / "cvat", made)
    exports.write_labelme(folder / "labelme", made)
    exports.write_pairs(folder / "colours", made)
    exports.write_coco(folder / "coco", made)
    shutil.copytree(folder / "coco/train", folder / "coco1/images")
    shutil.copy(folder / "coco/train.json", folder / "coco1/all.json")
    shutil.copytree(folder / "coco", folder / "coco2017")
    (folder / "coco2017/annotations").mkdir()
    for split in ("train", "val"):
        (folder / f"coco2017/{split}").rename(folder / f"coco2017/{split}2017")
        path = folder / f"coco2017/annotations/instances_{split}2017.json"
        (folder / f"coco2017/{split}.json").rename(path)
    for scene in made:
        exports.save(scene.image, folder / f"pairs/images/{scene.name}.png")
        exports.save(scene.class_map, folder / f"pairs/masks/{scene.name}.png")
        exports.save(scene.image, folder / f"voc/JPEGImages/{scene.name}.png")
        exports.save(scene.class_map, folder / f"voc/SegmentationClass/{scene.name}.png", True)
    (folder / "voc/ImageSets/Segmentation").mkdir(parents=True)
    for split, part in (("train", made[4:]), ("val", made[:4])):
        text = "".join(f"{scene.name}\n" for scene in part)
        (folder / f"voc/ImageSets/Segmentation/{split}.txt").write_text(text)
    (folder / "slides").mkdir()
    for split, part in (("train", made[4:]), ("val", made[:4])):
        height, width = np.min([scene.class_map.shape for scene in part], axis=0)
        images = np.stack([scene.image[:height, :width] for scene in part])
        maps = np.stack([scene.class_map[:height, :width] > 0 for scene in part])
        np.savez(folder / f"slides/{split}.npz", images=images, maps=maps.astype(np.uint8))
    (module,) = re.findall(
        r'```python title="slides.py"\n(.*?)```', PAGE.read_text(), flags=re.DOTALL
    )
    (folder / "slides.py").write_text(module)


def arguments(line: str, run: str) -> list[str]:
    """Return what the line gives to ``seglab``, made short where it trains."""
    program, command, *given = shlex.split(line)
    assert program == "seglab"
    if command == "train":
        given += [*SHORT, *(SMALL if "model=mask_rcnn" in given else TINY_NET)]
    if command != "predict" and not any(one.startswith("hydra.run.dir") for one in given):
        given.append(f"hydra.run.dir={run}")
    return [command, *given]


def test_the_page_has_every_layout() -> None:
    for name in ("pairs", "coco", "folder"):
        assert any(f"data={name} " in line for line in LINES)
    assert len(LINES) >= 12


@pytest.mark.slow
def test_every_line_of_the_page(seglab_cli: Cli, tmp_path: Path) -> None:
    write_all(tmp_path)
    for number, line in enumerate(LINES):
        answer = seglab_cli(*arguments(line, f"runs/{number}"))
        assert answer.code == 0, f"{line}\n{answer.out}{answer.err}"
        metrics = tmp_path / f"runs/{number}/metrics.json"
        if metrics.exists() and "train" in line.split()[1]:
            checkpoint = f"checkpoint=runs/{number}/checkpoints/last.ckpt"
            trust = [f"trust={'data=dataset' in line}"]
            again = seglab_cli("evaluate", checkpoint, *trust, f"hydra.run.dir=runs/{number}-again")
            assert again.code == 0, f"{line}\n{again.out}{again.err}"
            own, other = (json.loads(path.read_text()) for path in (
                metrics, tmp_path / f"runs/{number}-again/metrics.json"))  # fmt: skip
            shared = {key for key in own if key.startswith("val/") and key != "val/loss"} & {*other}
            assert shared
            assert {key: own[key] for key in shared} == {key: other[key] for key in shared}, line
    overlays = list((tmp_path / "masks/overlays").glob("*.png"))
    assert len(overlays) == len(scenes())
    plants = json.loads((tmp_path / f"runs/{len(LINES) - 1}/metrics.json").read_text())
    names = {key.removeprefix("val/IoU/") for key in plants if key.startswith("val/IoU/")}
    assert names == {"background", "plant"}


ORDERS = {
    "coco": ("background", "weed", "stone", "leaf"),
    "cvat": ("background", "leaf", "stone", "weed"),
    "colours": CLASSES,
}


@pytest.mark.parametrize("layout", ORDERS)
def test_right_predictions_score_1_and_those_in_another_order_do_not(
    seglab_cli: Cli, tmp_path: Path, layout: str
) -> None:
    """Class maps are written from the scenes, in the order that the page promises."""
    write_all(tmp_path)
    keys = {
        "coco": ["data=coco"],
        "cvat": ["data=folder", "data.val_fraction=0.25"],
        "colours": [part for line in LINES if "colours" in line for part in shlex.split(line)[2:]],
    }[layout]
    scores = []
    for order in (ORDERS[layout], (*ORDERS[layout][:2], *ORDERS[layout][:1:-1])):
        folder = tmp_path / f"predictions{len(scores)}"
        for number, scene in enumerate(scenes()):
            labels = np.array([order.index(name) for name in CLASSES], np.uint8)[scene.class_map]
            north = "north/" if layout == "colours" and number % 2 else ""
            name = f"{number}" if layout == "coco" else f"{north}{scene.name}"
            exports.save(labels, folder / f"{name}.png")
        run = f"hydra.run.dir={tmp_path}/score{len(scores)}"
        answer = seglab_cli("score", *keys, f"data.root={layout}", f"predictions={folder}", run)
        assert answer.code == 0, answer.err
        scores.append(json.loads((tmp_path / f"score{len(scores)}/metrics.json").read_text()))
    assert scores[0]["val/mIoU"] == 1
    assert scores[1]["val/mIoU"] < 0.7


def test_a_division_stays_what_it_was(seglab_cli: Cli, tmp_path: Path) -> None:
    made = scenes(16)
    exports.write_cvat(tmp_path / "cvat", made[:12])
    train = ["train", "data=folder", "data.root=cvat", "data.val_fraction=0.25", *SHORT, *TINY_NET]
    train.append("hydra.run.dir=run")
    assert seglab_cli(*train).code == 0
    lists = {part: (tmp_path / f"run/splits/{part}.txt").read_text() for part in ("train", "val")}
    names = [text.splitlines() for text in lists.values()]
    assert [*map(len, names)] == [9, 3]
    assert sorted([*names[0], *names[1]]) == [scene.name for scene in made[:12]]
    data = json.loads((tmp_path / "run/status.json").read_text())["data"]
    before = json.loads((tmp_path / "run/metrics.json").read_text())

    shutil.rmtree(tmp_path / "cvat")
    exports.write_cvat(tmp_path / "cvat", made)  # four more images, and another division
    again = ["evaluate", "checkpoint=run/checkpoints/last.ckpt"]
    answer = seglab_cli(*again, "hydra.run.dir=again")
    assert answer.code == 0, answer.err
    status = json.loads((tmp_path / "again/status.json").read_text())
    assert status["data"] == {"val": data["val"]}
    after = json.loads((tmp_path / "again/metrics.json").read_text())
    assert after["val/mIoU"] == before["val/mIoU"]
    answer = seglab_cli(*train, "resume=true")
    assert answer.code == 2
    assert "this run is of other data" in answer.last_line

    for command in (["data", "check"], ["train", "--dry-run"]):
        answer = seglab_cli(*command, "data=folder", "data.root=cvat", "data.val_fraction=0.25")
        assert answer.code == 0, answer.err

    mask = tmp_path / f"cvat/SegmentationClass/{names[1][0]}.png"
    with Image.open(mask) as picture:
        picture.transpose(Image.Transpose.ROTATE_180).save(mask)
    answer = seglab_cli(*again, "hydra.run.dir=changed")
    assert answer.code == 0
    assert "the data has changed since training" in answer.out + answer.err
    (tmp_path / "run/splits").rename(tmp_path / "kept")
    answer = seglab_cli(*again, "hydra.run.dir=lost")
    assert answer.code == 2
    assert "give data.splits=DIR" in answer.last_line
    assert seglab_cli(*again, "data.splits=kept", "hydra.run.dir=found").code == 0


def test_a_check_of_a_divided_data_set_lists_every_problem_once(
    seglab_cli: Cli, tmp_path: Path
) -> None:
    made = scenes()
    exports.write_pairs(tmp_path / "data", made)
    masks = sorted((tmp_path / "data/masks").iterdir())[:3]
    for mask in masks[:2]:
        mask.write_bytes(b"")
    exports.save(made[0].image, masks[2])  # colours that mean nothing
    classes = "data.mask_values={0/0/0: background, 0/90/250: weed, 250/90/0: leaf, 9/9/9: stone}"
    given = ["data=pairs", "data.root=data", "data.mask_suffix=_mask", classes]
    answer = seglab_cli("data", "check", *given, "data.val_fraction=0.25")
    assert answer.code == 1
    assert "3 problems in data=pairs" in answer.last_line
    for mask in masks:
        assert answer.out.count(f"data/masks/{mask.name}: ") == 1, answer.out
