"""Every layout gives the class and instance maps that were written, read by a plain reader."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers import exports
from helpers.exports import CLASSES, Scene, scenes

from seglab.config.compose import compose
from seglab.data.dataset import Samples, open_dataset
from seglab.data.files import read_image
from seglab.data.layouts.suffixes import matching_suffixes
from seglab.data.masks import too_many_objects
from seglab.data.store.digests import digest_file
from seglab.data.text_files import read_lines
from seglab.errors import ConfigError, DataError, SeglabError
from seglab.schema import DataConfig, TrainConfig


def config(root: Path, *overrides: str) -> DataConfig:
    own = [f"data.root={root}", f"data.store.dir={root.parent / 'store'}"]
    return compose("train", TrainConfig, [*overrides, *own]).config.data


def opened(root: Path, *overrides: str, split: str = "train", instances: bool = True) -> Samples:
    return open_dataset(config(root, *overrides), split, instances=instances)


def check(dataset: Samples, made: Sequence[Scene], void_rows: int = 0) -> None:
    """Compare each sample with the scene of its name, class by class."""
    by_name = {scene.name: scene for scene in made}
    assert len(dataset)
    for sample in dataset:
        scene = by_name[Path(sample.id).name]
        expected = np.full(scene.class_map.shape, 254)
        for label, name in enumerate(CLASSES):
            shown = "_background_" if "_background_" in dataset.classes and not label else name
            expected[scene.class_map == label] = dataset.classes.index(shown)
        expected[:void_rows] = 255
        np.testing.assert_array_equal(sample.class_map, expected)
        assert sample.instance_map is not None
        np.testing.assert_array_equal(sample.instance_map, scene.instance_map)


def refused(root: Path, *overrides: str, split: str = "train", instances: bool = True) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        list(opened(root, *overrides, split=split, instances=instances))
    assert "\n" not in str(caught.value)
    return str(caught.value)


FOLDER = ("data=folder", "data.val_fraction=0.25")
PAIRS = ("data=pairs", "data.mask_suffix=_mask", "data.val_fraction=0.25")
COLOURS = "data.mask_values={0/0/0: background, 0/90/250: weed, 250/90/0: leaf, 9/9/9: stone}"


@pytest.mark.parametrize("split", ["train", "val"])
def test_cvats_export_as_it_comes(tmp_path: Path, split: str) -> None:
    exports.write_cvat(tmp_path / "data", scenes())
    dataset = opened(tmp_path / "data", *FOLDER, split=split)
    assert dataset.classes == ("background", "leaf", "stone", "weed")
    check(dataset, scenes())


def test_labelmes_export_as_it_comes(tmp_path: Path) -> None:
    exports.write_labelme(tmp_path / "data", scenes())
    dataset = opened(tmp_path / "data", *FOLDER)
    assert dataset.classes == ("_background_", "weed", "leaf", "stone")
    check(dataset, scenes(), void_rows=2)


def test_pairs_in_nested_folders_with_a_suffix_and_colours(tmp_path: Path) -> None:
    exports.write_pairs(tmp_path / "data", scenes())
    dataset = opened(tmp_path / "data", *PAIRS, COLOURS)
    assert dataset.classes == CLASSES
    assert any(name.startswith("north/") for name in dataset.ids)
    check(dataset, scenes())


def test_pairs_of_grey_masks_are_labels_or_values(tmp_path: Path) -> None:
    exports.write_pairs(tmp_path / "data", scenes(), masks="grey")
    check(opened(tmp_path / "data", *PAIRS, f"data.classes=[{','.join(CLASSES)}]"), scenes())
    values = "data.mask_values={0: background, 1: weed, 2: leaf, 3: stone}"
    check(opened(tmp_path / "data", *PAIRS, values), scenes())


@pytest.mark.parametrize(
    ("image", "mask"),
    [(".webp", ".png"), (".gif", ".bmp"), (".ppm", ".tif"), (".jp2", ".tga"), (".JPEG", ".png")],
)
def test_pairs_of_any_format_and_the_colours_of_a_label_map(
    tmp_path: Path, image: str, mask: str
) -> None:
    root = tmp_path / "data"
    for scene in scenes():
        exports.save(scene.image, root / f"images/{scene.name}{image}")
        exports.save(exports.in_colour(scene.class_map), root / f"masks/{scene.name}{mask}")
        exports.save(scene.instance_map, root / f"instances/{scene.name}{mask}")
    lines = [f"{name}:{','.join(map(str, colour))}\n" for name, colour in exports.COLOURS.items()]
    (root / "labelmap.txt").write_text("".join(lines))
    check(opened(root, "data=pairs", "data.val_fraction=0.25"), scenes())
    name = scenes()[0].name
    (root / f"masks/{name}{mask}").unlink()
    exports.save(exports.in_colour(scenes()[0].class_map), root / f"masks/{name}.jpg")
    said = refused(root, "data=pairs", "data.val_fraction=0.25")
    assert said == f"{root}/masks/{name}.jpg: cannot be decoded: not a lossless picture file"


@pytest.mark.parametrize("how", ["sub-folders", "lists", "placeholder", "absolute"])
def test_the_splits_of_pairs(tmp_path: Path, how: str) -> None:
    made, root = scenes(), tmp_path / "data"
    given = ["data=pairs", f"data.classes=[{','.join(CLASSES)}]"]
    for number, scene in enumerate(made):
        split = "train" if number < 8 else "val"
        folder = {
            "sub-folders": f"{{}}/{split}",
            "placeholder": f"{split}/{{}}",
        }.get(how, "{}")
        exports.save(scene.image, root / folder.format("images") / f"{scene.name}.png")
        for kind, pixels in (("masks", scene.class_map), ("instances", scene.instance_map)):
            exports.save(pixels, root / folder.format(kind) / f"{scene.name}.png")
    if how == "lists":
        for split, part in (("train", made[:8]), ("val", made[8:])):
            (root / f"{split}.txt").write_text("".join(f"{scene.name}\n" for scene in part))
    if how == "placeholder":
        for kind in ("image", "mask", "instance"):
            given.append(f'data.{kind}_dir="{{split}}/{kind}s"')
    if how == "absolute":
        for split, part in (("train", made[:8]), ("val", made[8:])):
            (tmp_path / f"{split}.txt").write_text("".join(f"{scene.name}\n" for scene in part))
            given.append(f"data.{split}_split={tmp_path}/{split}.txt")
        given += [f"data.{kind}_dir={root}/{kind}s" for kind in ("image", "mask", "instance")]
        root = tmp_path
    configured = config(root, *given)
    for key, part in (("train", made[:8]), ("val", made[8:])):
        dataset = open_dataset(configured, configured.split_name(key), instances=True)
        assert sorted(dataset.ids) == sorted(scene.name for scene in part)
        check(dataset, part)


def test_what_does_not_pair_is_one_line(tmp_path: Path) -> None:
    root, given = tmp_path / "data", (*PAIRS, COLOURS)
    exports.write_pairs(root, scenes())
    mask = root / "masks/field 04_mask.bmp"
    moved = mask.rename(tmp_path / "mask.bmp")
    said = refused(root, *given)
    assert said.startswith(f"{root}/images/field 04.tif: no mask of this name in {root}/masks")
    moved.rename(mask)
    unnamed = [one for one in given if "suffix" not in one]
    said = refused(root, *unnamed)
    assert said.startswith(f"{root}/images/field 00.tif: no mask of this name in {root}/masks")
    assert said.endswith("; give data.mask_suffix=_mask")
    (root / "images/field 06.tif").rename(tmp_path / "image.tif")
    said = refused(root, *given)
    assert said.startswith(f"{mask.with_name('field 06_mask.bmp')}: no image of this name")
    exports.save(scenes()[0].image, root / "images/field 06.tif")
    exports.save(scenes()[0].image, root / "images/field 06.png")
    assert "has the same name" in refused(root, *given)
    assert "no such folder; see data.mask_dir" in refused(root, *given, "data.mask_dir=none")
    assert "data.val_fraction=0.2" in refused(root, *given, "data.val_fraction=null")


def test_ends_of_names_are_found_in_time_that_grows_with_the_names() -> None:
    letters = "abcdefghij"
    words = ["".join(letters[int(digit)] for digit in f"{n:05}") for n in range(20_000)]
    images = {f"{n}_{word}" for n, word in enumerate(words)}
    masks = {f"{n}_{word}x" for n, word in enumerate(words)}
    assert matching_suffixes(images, masks, mixed=False) is None
    assert matching_suffixes(images | masks, images | masks, mixed=True) is None
    assert matching_suffixes(images, {f"{name}_mask" for name in images}, mixed=False) == (
        "",
        "_mask",
    )
    both = {"a_im", "b_im", "a_gt", "b_gt"}
    assert matching_suffixes(both, both, mixed=True) == ("_im", "_gt")


def test_a_sample_is_printed_in_a_line_and_a_missing_one_is_an_index_error(tmp_path: Path) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    samples = opened(tmp_path / "data", "data=coco")
    assert repr(samples[0]) == repr(samples[-1]) == "Sample(id='a', image=(3, 20, 24))"
    for index in (1, 1000, -2):
        with pytest.raises(IndexError, match=rf"sample {index} of 1, which are 0 to 0"):
            samples[index]


def test_coco_with_equal_names_in_both_splits(tmp_path: Path) -> None:
    root, made = tmp_path / "data", scenes()
    exports.write_coco(root, made)
    for split, part in (("train", made[4:]), ("val", made[:4])):
        named = [scene._replace(name=f"{number}") for number, scene in enumerate(part)]
        dataset = opened(root, "data=coco", split=split)
        assert dataset.classes == ("background", "weed", "stone", "leaf")  # ids 3, 7, 90
        check(dataset, named)


def test_cocos_own_layout_by_keys_and_one_file_divided(tmp_path: Path) -> None:
    root, made = tmp_path / "data", scenes()
    exports.write_coco(root, made)
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        (root / f"{split}.json").rename(root / f"annotations/instances_{split}2017.json")
        (root / split).rename(root / f"{split}2017")
    keys = ["data=coco", 'data.annotations="annotations/instances_{split}.json"']
    splits = ["data.train_split=train2017", "data.val_split=val2017"]
    assert len(opened(root, *keys, *splits, split="val2017")) == 4
    divided = [*keys, splits[0], "data.val_fraction=0.25"]
    train, val = (opened(root, *divided, split=split) for split in ("train", "val"))
    assert len(train) + len(val) == 8
    assert not {*train.ids} & {*val.ids}
    assert len(val) == 2


def coco_of(root: Path, annotations: list[dict[str, object]], size: tuple[int, int]) -> None:
    """Write one image and these annotations of two categories."""
    height, width = size
    exports.save(np.zeros((height, width, 3), np.uint8), root / "train/a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": height, "width": width}],
        "categories": [{"id": 2, "name": "leaf"}, {"id": 1, "name": "weed"}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, **one}
            for number, one in enumerate(annotations, 1)
        ],
    }
    (root / "train.json").write_text(json.dumps(content))
    (root / "val.json").write_text(json.dumps(content))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_polygons_and_run_lengths_are_drawn_as_pycocotools_draws_them(tmp_path: Path) -> None:
    reference = pytest.importorskip("pycocotools.mask")
    height, width = 61, 83
    rng = np.random.default_rng(3)
    for trial in range(6):
        points = (
            rng.uniform(-3, 1, 12) + np.tile([width, height], 6) * rng.uniform(0, 1, 12)
        ).tolist()
        second = [5.5, 4, 20.2, 6, 11, 30]
        blob = np.asfortranarray(rng.random((height, width)) > 0.7, np.uint8)
        packed = reference.encode(blob)
        shapes = [
            [points, second],
            {"size": [height, width], "counts": packed["counts"].decode()},
            {"size": [height, width], "counts": exports.rle(blob.astype(int))},
        ]
        polygon = reference.decode(reference.merge(reference.frPyObjects(shapes[0], height, width)))
        for shape, expected in zip(shapes, (polygon, blob, blob), strict=True):
            coco_of(tmp_path / str(trial), [{"segmentation": shape}], (height, width))
            sample = opened(tmp_path / str(trial), "data=coco")[0]
            np.testing.assert_array_equal(sample.class_map, expected)


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def test_smaller_objects_are_on_top_and_crowds_are_void_below_them(tmp_path: Path) -> None:
    annotations: list[dict[str, object]] = [
        {"segmentation": box(4, 4, 8, 8), "category_id": 2},
        {"segmentation": box(0, 0, 12, 12)},
        {"segmentation": box(0, 0, 20, 16), "iscrowd": 1},
    ]
    coco_of(tmp_path / "data", annotations, (20, 24))
    sample = opened(tmp_path / "data", "data=coco")[0]
    classes, objects = np.zeros((2, 20, 24), np.uint8)
    classes[:16, :20] = objects[:16, :20] = 255
    classes[:12, :12], objects[:12, :12] = 1, 2
    classes[4:8, 4:8], objects[4:8, 4:8] = 2, 1
    np.testing.assert_array_equal(sample.class_map, classes)
    np.testing.assert_array_equal(sample.instance_map, objects)
    only = opened(tmp_path / "data", "data=coco", "data.classes=[background,leaf]")[0]
    np.testing.assert_array_equal(only.class_map[:16, :20] == 1, classes[:16, :20] == 2)


def test_an_image_without_annotations_is_background(tmp_path: Path) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    assert opened(tmp_path / "data", "data=coco")[0].class_map.unique().tolist() == [0]


def test_more_than_254_objects_are_an_error_for_instances_alone(tmp_path: Path) -> None:
    points = [divmod(number, 20) for number in range(255)]
    shapes: list[dict[str, object]] = [
        {"segmentation": box(2 * x, 2 * y, 2 * x + 1, 2 * y + 1)} for y, x in points
    ]
    coco_of(tmp_path / "data", shapes, (40, 60))
    assert "train.json: a.png: 255 objects" in refused(tmp_path / "data", "data=coco")
    sample = opened(tmp_path / "data", "data=coco", instances=False)[0]
    assert int(sample.class_map.sum()) == 255
    error = too_many_objects(
        "train.json: a.png", 255
    )  # torch and seglab raise it again by its text
    assert str(type(error)(str(error))) == str(error)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"segmentation": []}, "annotation 1 of image 'a.png' has no segmentation"),
        ({"segmentation": [[1, 2, 3]]}, "a polygon is a list of numbers"),
        ({"segmentation": [[1, 2, 3, "4", 5, 6]]}, "a polygon is a list of numbers"),
        ({"segmentation": [[1, 2, 9, 8]]}, "annotation 1: a polygon of 2 points encloses nothing"),
        ({"segmentation": [*box(1, 1, 5, 5), []]}, "annotation 1: a polygon of 0 points"),
        ({"segmentation": [[1, 2, 1e9, 4, 5, 6]]}, "leads far out of the image"),
        ({"segmentation": [[1, 2, 10**400, 4, 5, 6]]}, "leads far out of the image"),
        ({"segmentation": [[0, 0, 24, 20] * 50_000]}, "an outline of more than 1,000,000 pixels"),
        ({"segmentation": {"size": [3, 3], "counts": [9]}}, "its size is [3, 3], not [20, 24]"),
        ({"segmentation": {"size": [20, 24], "counts": [9, 9]}}, "do not add up to 20 * 24"),
        ({"segmentation": {"size": [20, 24], "counts": "\u00e9?"}}, "annotation 1: run lengths"),
        ({"segmentation": {"size": [20, 24], "counts": "0" * 400}}, "do not add up"),
        ({"category_id": 9}, "annotation 1: no category has the id 9"),
        ({"image_id": 9}, "annotation 1: no image has the id 9"),
    ],
)
def test_what_is_wrong_with_an_annotation_is_one_line(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    coco_of(tmp_path / "data", [{"segmentation": box(1, 1, 5, 5), **change}], (20, 24))
    said = refused(tmp_path / "data", "data=coco")
    assert says in said
    assert f"{tmp_path}/data/train.json: " in said


def test_two_categories_of_one_id_are_refused(tmp_path: Path) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    path = tmp_path / "data/train.json"
    content = json.loads(path.read_text())
    content["categories"].append({**content["categories"][0], "name": "another"})
    path.write_text(json.dumps(content))
    assert "train.json: two categories have the id" in refused(tmp_path / "data", "data=coco")


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "\ud800.png"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    path = tmp_path / "data/train.json"
    path.write_text(path.read_text().replace('"a.png"', json.dumps(name)))
    assert "is no file's name" in refused(tmp_path / "data", "data=coco")


@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_a_pipe_or_a_device_is_no_image(tmp_path: Path, target: str) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    path = tmp_path / "data/train/a.png"
    path.unlink()
    if target == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    for read in (read_image, digest_file):
        with pytest.raises(DataError, match=r"a\.png: not a regular file"):
            read(path)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "b/../../a.png", "a\\b.png", ""])
def test_a_file_name_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    for split in ("train", "val"):
        path = tmp_path / f"data/{split}.json"
        path.write_text(path.read_text().replace('"a.png"', json.dumps(name)))
    assert "leaves its folder" in refused(tmp_path / "data", "data=coco")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as COCO's JSON"),
        ("[" * 100_000, "cannot be read as COCO's JSON"),
        ("[]", "not COCO's JSON"),
        ("{}", "it has no list 'categories'"),
    ],
)
def test_a_file_that_is_not_cocos_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    (tmp_path / "data/train.json").write_text(text)
    said = refused(tmp_path / "data", "data=coco")
    assert said.startswith(f"{tmp_path}/data/train.json: ")
    assert says in said


def test_the_size_in_the_file_is_that_of_the_image(tmp_path: Path) -> None:
    coco_of(tmp_path / "data", [{"segmentation": box(1, 1, 5, 5)}], (20, 24))
    exports.save(np.zeros((20, 25, 3), np.uint8), tmp_path / "data/train/a.png")
    said = refused(tmp_path / "data", "data=coco")
    assert "train.json: a.png: 24x20 pixels, but" in said
    assert said.endswith("a.png has 25x20")


def test_what_is_there_in_place_of_a_missing_file_is_named(tmp_path: Path) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    for name in ("train", "val"):
        (tmp_path / f"data/{name}.json").rename(tmp_path / f"data/{name}_2017.json")
    said = refused(tmp_path / "data", "data=coco", "data.classes=[background,weed]")
    assert said == (
        f"{tmp_path}/data/train.json: No such file or directory; there is train_2017.json, "
        "val_2017.json; give data.annotations"
    )


@pytest.mark.parametrize("side", [8_000, 10**7])
def test_nothing_is_painted_at_an_absurd_size(
    tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    coco_of(tmp_path / "data", [{"segmentation": box(1, 1, 5, 5)}], (20, 24))
    path = tmp_path / "data/train.json"
    path.write_text(path.read_text().replace('"height": 20', f'"height": {side}'))
    monkeypatch.delattr("seglab.data.layouts.coco.paint")
    said = refused(tmp_path / "data", "data=coco")
    assert said == f"{path}: a.png: 24x{side} pixels, but {tmp_path}/data/train/a.png has 24x20"
    divided = ["data.val_fraction=0.5", "data.train_split=train"]  # looks at the masks alone
    assert refused(tmp_path / "data", "data=coco", *divided, instances=False) == said


def test_a_pipe_is_no_list(tmp_path: Path) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    path = tmp_path / "data/train.json"
    path.unlink()
    os.mkfifo(path)
    assert refused(tmp_path / "data", "data=coco") == f"{path}: not a regular file"
    with pytest.raises(DataError, match="not a regular file"):
        read_lines(path, 100, "a list")


def test_classes_of_coco_are_categories(tmp_path: Path) -> None:
    coco_of(tmp_path / "data", [], (20, 24))
    said = refused(tmp_path / "data", "data=coco", "data.classes=[background,waed]")
    assert said.endswith("there is weed")
    assert "'weed' is first" in refused(tmp_path / "data", "data=coco", "data.classes=[weed,leaf]")


def test_a_json_file_is_parsed_once_per_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports.write_coco(tmp_path / "data", scenes())
    parsed: list[int] = []
    loads = json.loads

    def counting(text: bytes, *more: object) -> object:
        parsed.append(len(text))
        return loads(text, *more)

    monkeypatch.setattr("seglab.data.layouts.coco_listing.json.loads", counting)
    for _ in range(2):
        for split in ("train", "val"):
            dataset = opened(tmp_path / "data", "data=coco", split=split)
    again = pickle.loads(pickle.dumps(dataset))  # as a loading process gets it
    assert again[1].class_map.equal(dataset[1].class_map)
    assert len([size for size in parsed if size > 2000]) == 2


MERGE = "data.merge_classes={plant: [leaf, weed]}"


@pytest.mark.parametrize("layout", ["cvat", "coco"])
def test_ignored_classes_are_void_and_merged_ones_keep_their_objects(
    tmp_path: Path, layout: str
) -> None:
    made, root = scenes(), tmp_path / "data"
    if layout == "cvat":
        exports.write_cvat(root, made)
        given = [*FOLDER, MERGE, "data.ignore_classes=[stone]"]
    else:
        exports.write_coco(root, made)
        given = ["data=coco", MERGE, "data.ignore_classes=[stone]"]
        made = [scene._replace(name=f"{number}") for number, scene in enumerate(made[4:])]
    dataset = opened(root, *given)
    assert dataset.classes == ("background", "plant")
    by_name = {scene.name: scene for scene in made}
    for sample in dataset:
        scene = by_name[sample.id]
        expected = np.array([0, 1, 1, 255], np.uint8)[scene.class_map]
        np.testing.assert_array_equal(sample.class_map, expected)
        objects = np.where(scene.class_map == 3, 255, scene.instance_map)
        np.testing.assert_array_equal(sample.instance_map, objects)


def test_the_order_of_merged_classes(tmp_path: Path) -> None:
    exports.write_cvat(tmp_path / "data", scenes())

    def classes(*given: str) -> list[str] | None:
        return config(tmp_path / "data", *FOLDER, *given).classes

    assert classes("data.merge_classes={soil: [weed, background]}") == ["soil", "leaf", "stone"]
    assert classes("data.merge_classes={leaf: [weed]}") == ["background", "leaf", "stone"]
    assert classes("data.ignore_classes=[leaf]") == ["background", "stone", "weed"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "data.ignore_classes=[laef]",
            "data.ignore_classes: 'laef' is not a class; the classes are leaf",
        ),
        (
            "data.merge_classes={a: [waed]}",
            "data.merge_classes.a: 'waed' is not a class; the classes are",
        ),
        ("data.merge_classes={a: [leaf], b: [leaf]}", "data.merge_classes.b: 'leaf' is ignored or"),
        ("data.ignore_classes=[leaf,weed,stone]", "leave 1 of 4 classes"),
    ],
)
def test_wrong_names_are_errors_with_the_nearest(tmp_path: Path, given: str, says: str) -> None:
    exports.write_cvat(tmp_path / "data", scenes())
    with pytest.raises(SeglabError) as caught:
        config(tmp_path / "data", *FOLDER, given)
    assert says in str(caught.value)
