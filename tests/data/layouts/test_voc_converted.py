"""The photographs of VOC2007 as COCO's JSON and as pairs: the same maps, pixel by pixel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import exports
from PIL import Image

from seglab.config.compose import compose
from seglab.data.dataset import VOCSegmentation, open_dataset
from seglab.schema import TrainConfig


def convert(voc: Path, ids: list[str], root: Path) -> None:
    """Write COCO's JSON and pairs of some photographs, with no code of seglab's.

    Void is a crowd: the pixels that are 255 in the masks.
    """
    names = VOCSegmentation(voc.parent, 2007).classes
    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    content["categories"] = [{"id": key, "name": name} for key, name in enumerate(names) if key]
    for number, name in enumerate(ids):
        maps = {}
        for kind in ("Class", "Object"):
            with Image.open(voc / f"Segmentation{kind}/{name}.png") as picture:
                maps[kind] = np.array(picture)
        for folder in ("coco/train", "pairs/images"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(voc / f"JPEGImages/{name}.jpg", root / folder)
        exports.save(maps["Class"], root / f"pairs/masks/{name}.png")
        exports.save(maps["Object"], root / f"pairs/instances/{name}.png")
        height, width = maps["Class"].shape
        image = {"id": number, "file_name": f"{name}.jpg", "height": height, "width": width}
        content["images"].append(image)
        for value in np.unique(maps["Object"]).tolist():
            mask = maps["Object"] == value
            if value:
                label = int(maps["Class"][mask][0]) if value < 255 else 1
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]),
                        "image_id": number,
                        "category_id": label,
                        "iscrowd": int(value == 255),
                        "segmentation": {"size": [height, width], "counts": exports.rle(mask * 1)},
                    }
                )
    (root / "coco/train.json").write_text(json.dumps(content))
    (root / "coco/val.json").write_text(json.dumps(content))


def compare(voc_root: Path, tmp_path: Path, most: int | None) -> None:
    truth = VOCSegmentation(voc_root, 2007, "trainval", instances=True)
    convert(voc_root / "VOC2007", truth.ids[:most], tmp_path)
    store = f"data.store.dir={tmp_path}/store"
    given = {
        "coco": ["data=coco"],
        "pairs": [
            "data=pairs",
            f"data.classes=[{','.join(truth.classes)}]",
            "data.val_fraction=0.5",
        ],
    }
    for layout, keys in given.items():
        keys = [*keys, f"data.root={tmp_path}/{layout}", store]
        config = compose("train", TrainConfig, keys).config.data
        parts = ["train"] if layout == "coco" else ["train", "val"]
        seen = 0
        for part in parts:
            dataset = open_dataset(config, part, instances=True)
            assert dataset.classes == truth.classes
            for sample in dataset:
                expected = truth[truth.ids.index(sample.id)]
                assert sample.image.equal(expected.image)
                assert sample.class_map.equal(expected.class_map), f"{layout} {sample.id}"
                assert sample.instance_map is not None
                assert expected.instance_map is not None
                assert sample.instance_map.equal(expected.instance_map), f"{layout} {sample.id}"
                seen += 1
        assert seen == len(truth.ids[:most])


@pytest.mark.voc
def test_some_photographs_are_the_same_in_each_layout(voc_root: Path, tmp_path: Path) -> None:
    compare(voc_root, tmp_path, 40)


@pytest.mark.voc
@pytest.mark.slow
def test_all_photographs_are_the_same_in_each_layout(voc_root: Path, tmp_path: Path) -> None:
    compare(voc_root, tmp_path, None)


@pytest.mark.voc
@pytest.mark.slow
def test_a_model_scores_the_same_in_each_layout(
    voc_root: Path, tmp_path: Path, seglab_cli: Callable[..., Any]
) -> None:
    """FCN-8s by its recipe, for four steps, on 60 photographs of VOC's validation split."""
    truth = VOCSegmentation(voc_root, 2007, "val")
    ids = truth.ids[:60]
    convert(voc_root / "VOC2007", ids, tmp_path)
    few = tmp_path / "few.txt"
    few.write_text("\n".join(ids))
    recipe = ["experiments=fcn8s_voc2007", f"data.root={voc_root}", "debug=short", "logger=csv"]
    recipe += ["trainer.accelerator=cpu", "pictures.samples=0", "model.weights=null"]
    assert seglab_cli("train", *recipe, "hydra.run.dir=run").code == 0
    layouts = {
        "voc": ["data=voc2007", f"data.root={voc_root}", f"split={few}"],
        "coco": ["data=coco", f"data.root={tmp_path}/coco", "split=train"],
        "pairs": [
            "data=pairs",
            f"data.root={tmp_path}/pairs",
            f"data.classes=[{','.join(truth.classes)}]",
            f"split={few}",
        ],
    }
    scores = {}
    for layout, keys in layouts.items():
        checkpoint = "checkpoint=run/checkpoints/last.ckpt"
        answer = seglab_cli("evaluate", checkpoint, *keys, f"hydra.run.dir={layout}")
        assert answer.code == 0, answer.err
        scores[layout] = json.loads((tmp_path / layout / "metrics.json").read_text())
    assert scores["voc"]["val/mIoU"] > 0
    assert scores["voc"] == scores["coco"] == scores["pairs"]
