"""``seglab data stats``: the numbers by plain means, on sound data and on what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import exports
from helpers.exports import scenes
from PIL import Image

from seglab.data.classes import VOC_CLASSES

Cli = Callable[..., Any]


def rows(out: str) -> dict[str, list[str]]:
    """Return the cells of each line of a terminal's table by the first."""
    return {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}


class Page(HTMLParser):
    """The texts of table rows, and the sources of pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.pictures: list[str] = []
        self.captions: list[str] = []
        self.tag = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        if tag == "tr":
            self.rows.append([])
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")

    def handle_data(self, data: str) -> None:
        if self.tag in ("td", "th", "i") and data.strip() and self.rows:
            self.rows[-1].append(data)
        if self.tag == "figcaption" and data.strip():
            self.captions.append(data)


def test_the_numbers_are_those_of_a_plain_count(
    seglab_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scenes(12)
    exports.write_coco(tmp_path / "coco", made)
    monkeypatch.setenv("COLUMNS", "80")
    answer = seglab_cli("data", "stats", "data=coco", "data.root=coco")
    assert answer.code == 0, answer.err
    assert all(len(line) <= 80 for line in answer.out.splitlines())
    shown = rows(answer.out)
    page = Page(tmp_path / "stats_coco.html")
    on_page = {row[0]: row[1:] for row in page.rows if row and len(row) == 8}
    order = ("background", "weed", "stone", "leaf")  # by the ids of exports.coco
    share = {}
    for place, part in ((1, made[4:]), (4, made[:4])):
        total = sum(scene.class_map.size for scene in part)
        for name in order:
            where = [scene.class_map == exports.CLASSES.index(name) for scene in part]
            pixels = sum(int(one.sum()) for one in where)
            objects = sum(
                len(np.unique(scene.instance_map[one & (scene.instance_map > 0)]))
                for scene, one in zip(part, where, strict=True)
            )
            images = sum(int(one.any()) for one in where)
            cells = [f"{pixels / total:.2%}", str(images), str(objects)]
            assert shown[name][place : place + 3] == cells
            assert on_page[name][place : place + 3] == cells
            share[place, name] = pixels / total
    median = np.median([share[1, name] for name in order])
    for name in order:
        assert shown[name][0] == f"{(median / share[1, name]) ** 0.5:.2f}"
    assert "train: 8 images; 50x36 (8)" in answer.out
    # The most crowded of the training images, with its objects.
    counts = sorted((len(np.unique(scene.instance_map)) - 1 for scene in made[4:]), reverse=True)
    assert [int(c.split(" · ")[1].split()[0]) for c in page.captions[:4]] == counts[:4]
    empty = sorted((scene.class_map > 0).mean() for scene in made[4:])
    assert page.captions[4].endswith(f"{empty[0]:.2%}")
    assert len(page.pictures) == 2 * 3 * 4
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in page.pictures)
    assert not re.search(r"https?://|<script", (tmp_path / "stats_coco.html").read_text())


def test_what_is_wrong_is_shown(seglab_cli: Cli, tmp_path: Path) -> None:
    """Values of no class, equal images in both splits, a broken mask, and a name in HTML."""
    made = scenes(8)
    for number, scene in enumerate(made):
        split = "val" if number < 3 else "train"
        image = made[0].image if number == 5 else scene.image
        exports.save(image, tmp_path / f"d/images/{split}/<b>{scene.name}.png")
        labels = scene.class_map.copy()
        labels[0, :7] = 77 if number == 4 else labels[0, :7]
        exports.save(labels, tmp_path / f"d/masks/{split}/<b>{scene.name}.png")
    (tmp_path / "d/masks/train/<b>field 06.png").write_bytes(b"no picture")
    (tmp_path / "d/images/train/<b>field 07.png").write_bytes(b"no picture")
    data = ["data=pairs", "data.root=d", 'data.classes=[background,"<i>",leaf,stone]']
    answer = seglab_cli("data", "stats", *data, "output=out/page.html")
    assert answer.code == 0, answer.err
    assert "train: value 77 fits no class: 7 pixels of 1 images" in answer.out
    assert "<b>field 04.png: 77 fits no class" in answer.out
    assert "equal images: train: <b>field 05 = val: <b>field 00" in answer.out
    assert answer.out.count("cannot be decoded") == 2
    text = (tmp_path / "out/page.html").read_text()
    assert "<b>field" not in text
    assert "<i>leaf" not in text
    assert "&lt;i&gt;" in text
    assert ["77", "no class", "7", "1", "0", "0"] in Page(tmp_path / "out/page.html").rows
    checked = seglab_cli("data", "check", *data)
    assert checked.code == 1, "stats shows what the check refuses"


def test_a_divided_data_set_with_merged_classes(seglab_cli: Cli, tmp_path: Path) -> None:
    made = scenes(12)
    exports.write_cvat(tmp_path / "cvat", made)
    data = [
        "data=folder",
        "data.root=cvat",
        "data.val_fraction=0.25",
        "data.ignore_classes=[stone]",
    ]
    data.append("data.merge_classes={plant: [leaf, weed]}")
    answer = seglab_cli("data", "stats", *data)
    assert answer.code == 0, answer.err
    shown = rows(answer.out)
    assert "background" in shown
    assert "stone" not in shown
    page = Page(tmp_path / "stats_folder.html")
    meanings = {row[0]: row[1] for row in page.rows if "/" in row[0]}
    assert meanings == {
        "0/0/0": "background",
        "9/9/9": "void",
        "0/90/250": "plant",
        "250/90/0": "plant",
    }


def test_the_proposed_weights_are_those_of_auto_and_of_fcn_8s(
    seglab_cli: Cli, voc_root: Path, tmp_path: Path
) -> None:
    data = ["data=voc2007", f"data.root={voc_root}"]
    answer = seglab_cli("data", "stats", *data)
    assert answer.code == 0, answer.err
    shown = rows(answer.out.partition("class")[2])
    weights = [cells[0] for name, cells in shown.items() if name in VOC_CLASSES]
    # What experiments/fcn8s_voc2007.yaml contained, counted by hand.
    assert list(map(float, weights)) == [
        *(0.11, 1.37, 1.41, 1.0, 1.33, 1.08, 0.68, 1.06, 0.67, 0.91, 1.04),
        *(0.79, 0.77, 1.02, 1.06, 0.31, 1.71, 1.85, 0.73, 0.85, 0.8),
    ]
    for recipe in ("fcn8s", "fcn16s", "fcn32s"):
        train = ["train", f"experiments={recipe}_voc2007", *data[1:], "--dry-run"]
        answer = seglab_cli(*train, "model.weights=null")
        assert yaml.safe_load(answer.out)["loss"]["class_weights"] == "auto"


def test_many_objects_are_no_problem_for_class_maps(
    seglab_cli: Cli, tmp_path: Path, tiny: list[str]
) -> None:
    """300 objects of one pixel in an image: class maps train, Mask R-CNN says why it cannot."""
    made = scenes(6)
    exports.write_cvat(tmp_path / "cvat", made)
    crowd = np.zeros((36, 50, 3), np.uint8)
    labels = np.zeros((36, 50, 3), np.uint8)
    for number in range(300):
        place = np.s_[2 * (number // 20), 2 * (number % 20)]
        crowd[place] = [number % 250 + 1, number // 250 + 1, 7]
        labels[place] = exports.COLOURS["leaf"]
    Image.fromarray(crowd).save(tmp_path / "cvat/SegmentationObject/field 02.png")
    Image.fromarray(labels).save(tmp_path / "cvat/SegmentationClass/field 02.png")
    data = ["data=folder", "data.root=cvat", "data.val_fraction=0.3"]
    answer = seglab_cli("data", "check", *data)
    assert answer.code == 0, answer.out
    assert "field 02.png: 300 objects; an instance map holds ids 1..254" in answer.out
    short = [one for one in tiny if not one.startswith("data.synth")]
    assert seglab_cli("train", *data, *short, "hydra.run.dir=run").code == 0
    net = [one for one in short if not one.startswith("model.net")]
    answer = seglab_cli("train", *data, *net, "model=mask_rcnn", "hydra.run.dir=objects")
    assert answer.code == 1
    assert "300 objects" in answer.last_line
    assert "field 02.png: 300 objects" in seglab_cli("data", "stats", *data).out
