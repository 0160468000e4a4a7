"""``seglab data import``: each layout as it comes, read back by plain means and trained on."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import exports
from helpers.exports import CLASSES, Scene, in_colour, save, scenes
from PIL import Image

Cli = Callable[..., Any]
VALUES = "data.mask_values={0/0/0: background, 0/90/250: weed, 250/90/0: leaf, 9/9/9: stone}"
NAMES = "data.classes=[background,weed,leaf,stone]"


def cvat(root: Path, made: list[Scene]) -> list[str]:
    exports.write_cvat(root, made)
    return []


def labelme(root: Path, made: list[Scene]) -> list[str]:
    exports.write_labelme(root, made)
    return []


def coco(root: Path, made: list[Scene]) -> list[str]:
    exports.write_coco(root, made)
    return []


def coco_2017(root: Path, made: list[Scene]) -> list[str]:
    exports.write_coco(root, made)
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        (root / split).rename(root / f"{split}2017")
        (root / f"{split}.json").rename(root / f"annotations/instances_{split}2017.json")
        (root / f"annotations/captions_{split}2017.json").write_text('{"images": []}')
    return []


def one_json(root: Path, made: list[Scene]) -> list[str]:
    for scene in made:
        save(scene.image, root / f"images/{scene.name}.png")
    (root / "annotations").mkdir()
    path = root / "annotations/instances_default.json"
    path.write_text(json.dumps(exports.coco(made)))
    return []


def colours(root: Path, made: list[Scene]) -> list[str]:
    exports.write_pairs(root, made)
    return [VALUES]


def folders(root: Path, made: list[Scene]) -> list[str]:
    for number, scene in enumerate(made):
        split = "val" if number < 4 else "train"
        save(scene.image, root / f"Images/{split}/{scene.name}.jpg")
        save(scene.class_map, root / f"Labels/{split}/{scene.name}.png")
    return [NAMES]


def splits(root: Path, made: list[Scene]) -> list[str]:
    for number, scene in enumerate(made):
        split = "valid" if number < 4 else "train"
        save(scene.image, root / f"{split}/images/{scene.name}_sat.tif")
        save(scene.class_map, root / f"{split}/masks/{scene.name}_mask.png")
    return [NAMES]


def mixed(root: Path, made: list[Scene]) -> list[str]:
    for scene in made:
        save(scene.image, root / f"{scene.name}_sat.png")
        save(in_colour(scene.class_map), root / f"{scene.name}_mask.png")
    return [VALUES]


LAYOUTS = (cvat, labelme, coco, coco_2017, one_json, colours, folders, splits, mixed)
WITH_OBJECTS = (cvat, labelme, coco, coco_2017, one_json, colours)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert path.parent.parent.name == "JPEGImages" or picture.mode in ("P", "RGB")
        return np.array(picture)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_layout_is_recognised_and_written(
    seglab_cli: Cli, tmp_path: Path, tiny: list[str], layout: Any
) -> None:
    made = scenes(12)
    keys = layout(tmp_path / "src", made)
    answer = seglab_cli("data", "import", "src", "output=my set", *keys)
    assert answer.code == 0, answer.err
    out = tmp_path / "my set"
    lists = [(out / f"ImageSets/Segmentation/{part}.txt").read_text() for part in ("train", "val")]
    ids = [text.splitlines() for text in lists]
    assert sum(map(len, ids)) == 12
    assert len(ids[1]) in (2, 3, 4)
    option = yaml.safe_load((out / "conf/data/my_set.yaml").read_text())
    assert option["name"] == "my_set"
    assert sorted(option["classes"]) in (sorted(CLASSES), ["_background_", *sorted(CLASSES[1:])])
    labels = np.full(256, 255, np.uint8)
    for label, name in enumerate(CLASSES):
        own = "_background_" if layout is labelme and not label else name
        labels[label] = option["classes"].index(own)
    pictures = {scene.image.tobytes(): scene for scene in made}
    by_name = {scene.name: scene for scene in made}
    for name in [*ids[0], *ids[1]]:
        (image,) = out.glob(f"JPEGImages/{name}.*")
        scene = by_name.get(Path(name).name) or pictures[read(image).tobytes()]
        truth = labels[scene.class_map]
        if layout is labelme:
            truth[:2] = 255
        assert (read(out / f"SegmentationClass/{name}.png") == truth).all()
        objects = out / f"SegmentationObject/{name}.png"
        assert objects.is_file() == (layout in WITH_OBJECTS)
        if objects.is_file():
            ids_of = read(objects)
            pairs = {
                *zip(ids_of.ravel().tolist(), scene.instance_map.ravel().tolist(), strict=True)
            }
            assert len(pairs) == len(np.unique(scene.instance_map)), "one id for each object"
    assert not [*tmp_path.glob(".my*")]

    line = shlex.split(answer.out.splitlines()[-1])
    short = [one for one in tiny if not one.startswith("data.synth")]
    trained = seglab_cli(*line[1:], *short, "hydra.run.dir=run")
    assert trained.code == 0, trained.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {f"val/IoU/{name}" for name in option["classes"]} <= {*metrics}


def test_the_real_photographs_stay_what_they_are(
    seglab_cli: Cli, tmp_path: Path, voc_root: Path
) -> None:
    source = voc_root / "VOC2007"
    names = (source / "ImageSets/Segmentation/train.txt").read_text().split()[:6]
    lists = tmp_path / "six.txt"
    lists.write_text("\n".join(names[:4]))
    (tmp_path / "two.txt").write_text("\n".join(names[4:]))
    answer = seglab_cli(
        *("data", "import", str(source), "output=out"),
        *("data.train_split=six.txt", "data.val_split=two.txt"),
    )
    assert answer.code == 0, answer.err
    assert "4 to train on and 2 to validate on, 21 classes, with objects" in answer.out
    for name in names:
        for kind in ("SegmentationClass", "SegmentationObject"):
            file = f"{kind}/{name}.png"
            assert (read(source / file) == read(tmp_path / "out" / file)).all()
        for file in (f"JPEGImages/{name}.jpg", f"Annotations/{name}.xml"):
            assert (source / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


def test_nothing_is_overwritten_or_half_written(seglab_cli: Cli, tmp_path: Path) -> None:
    keys = cvat(tmp_path / "src", scenes(6))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    answer = seglab_cli("data", "import", "src", "output=out", *keys)
    assert answer.code == 2
    assert "output=out: exists and is not empty" in answer.last_line
    (tmp_path / "out/mine.txt").unlink()
    mask = tmp_path / "src/SegmentationClass/field 03.png"
    whole = mask.read_bytes()
    mask.write_bytes(whole[:60])
    before = {*tmp_path.rglob("*")}
    answer = seglab_cli("data", "import", "src", "output=out", *keys)
    assert answer.code == 1
    assert str(mask.relative_to(tmp_path)) in answer.last_line
    assert {*tmp_path.rglob("*")} == before
    mask.write_bytes(whole)
    assert seglab_cli("data", "import", "src", "output=out", *keys).code == 0


def test_a_link_beside_the_masks_brings_no_other_file_along(
    seglab_cli: Cli, tmp_path: Path
) -> None:
    exports.write_cvat(tmp_path / "src", scenes(6))
    (tmp_path / "src/Annotations").mkdir()
    (tmp_path / "key").write_text("-----BEGIN PRIVATE KEY-----")
    image = next((tmp_path / "src/JPEGImages").iterdir())
    (tmp_path / f"src/Annotations/{image.stem}.xml").symlink_to(tmp_path / "key")
    answer = seglab_cli("data", "import", "src", "output=out")
    assert answer.code == 1
    assert f"src/Annotations/{image.stem}.xml: not a well-formed annotation" in answer.last_line
    assert "PRIVATE" not in answer.out + answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a\nb", "c ", '"q d"', "x\u2028y"])
def test_a_name_that_no_list_can_hold_is_refused(
    seglab_cli: Cli, tmp_path: Path, tiny: list[str], name: str
) -> None:
    folders(tmp_path / "src", scenes(6))
    for path in [*(tmp_path / "src").rglob("*.*")]:
        if path.stem == "field 05":
            path.rename(path.with_stem(name))
    answer = seglab_cli("data", "import", "src", "output=out", NAMES)
    assert answer.code == 1
    assert "a list of ids cannot hold this name" in answer.last_line
    assert not (tmp_path / "out").exists()
    keys = ["data=pairs", "data.root=src", "data.image_dir=Images", "data.mask_dir=Labels", NAMES]
    own = [one for one in tiny if not one.startswith("data.synth")]
    answer = seglab_cli("train", *keys, *own, "data.val_fraction=0.25", "hydra.run.dir=run")
    assert answer.code == 1
    assert "a list of ids cannot hold this name" in answer.last_line
    assert not (tmp_path / "run").exists()


def test_a_photograph_is_no_mask(seglab_cli: Cli, tmp_path: Path) -> None:
    folders(tmp_path / "src", scenes(6))
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    for path in [*(tmp_path / "src").rglob("*.*")]:
        path.unlink()
        save(noise, path.with_suffix(".png"))
    answer = seglab_cli("data", "import", "src", "output=out")
    assert answer.code == 1
    assert "colours; is this a mask, or a photograph?" in answer.last_line


def test_what_is_missing_is_asked_for(seglab_cli: Cli, tmp_path: Path) -> None:
    answer = seglab_cli("data", "import", "src", "output=out")
    assert "src: no such folder" in answer.last_line
    folders(tmp_path / "src", scenes(6))
    answer = seglab_cli("data", "import", "src", "output=out")
    assert answer.code == 2
    assert "nothing names the classes; the masks contain 0, 1, 2, 3: give" in answer.last_line
    shutil.rmtree(tmp_path / "src/Labels")
    answer = seglab_cli("data", "import", "src", "output=out")
    assert answer.code == 1
    assert "no layout that is known" in answer.last_line
    for arguments in (["output=out"], ["src"], ["src", "src", "output=out"]):
        answer = seglab_cli("data", "import", *arguments)
        assert answer.code == 2
        assert "seglab data import SRC output=DIR" in answer.last_line
