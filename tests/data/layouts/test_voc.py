"""VOC's layout on disk as samples, and every way in which it can be wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from seglab.data.classes import VOC_CLASSES, palette
from seglab.data.dataset import VOCSegmentation
from seglab.data.files import Box
from seglab.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tests.data.conftest import Tree


def voc(tree: Tree, split: str = "train", **options: object) -> VOCSegmentation:
    return VOCSegmentation(tree.root, 2007, split, **options)


def refused(tree: Tree, split: str = "train", **options: object) -> str:
    """Return the one line with which the data set is refused, when opened or when read."""
    with pytest.raises(DataError) as caught:
        list(voc(tree, split, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sample(tree: Tree) -> None:
    dataset = voc(tree)
    assert len(dataset) == 3
    assert dataset.classes == VOC_CLASSES
    sample = dataset[1]
    assert sample.id == "b"
    assert sample.size == dataset.size(1) == (9, 6)
    assert sample.image.dtype == sample.class_map.dtype == torch.uint8
    with Image.open(tree.image("b")) as image, Image.open(tree.mask("b")) as mask:
        np.testing.assert_array_equal(sample.image.permute(1, 2, 0), np.array(image))
        np.testing.assert_array_equal(sample.class_map, np.array(mask))
    assert sample.instance_map is None
    assert sample.boxes == ()
    assert [sample.id for sample in dataset] == ["a", "b", "c"]


def test_a_sample_may_be_changed(tree: Tree) -> None:
    torch.set_warn_always(True)  # torch warns, else once, of a tensor over read-only memory
    try:
        sample = voc(tree)[1]
    finally:
        torch.set_warn_always(False)
    sample.image.zero_()
    sample.class_map.zero_()
    assert voc(tree)[1].image.any()


@pytest.mark.parametrize(
    "text",
    [
        b"a\nb\nc",
        b" a \n\n\tb\n   \nc  \n\n",
        b"\xef\xbb\xbfa\r\nb\r\nc\r\n",
        b"\r\n\r\na\rb\rc",
    ],
)
def test_lists_with_stray_bytes(tree: Tree, text: bytes) -> None:
    tree.list("train").write_bytes(text)
    assert voc(tree).ids == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \n\r\n", "empty"),
        ("a\nb\n a\n", "id 'a' is listed twice"),
        ("a\n../a\n", "'../a' leaves its folder"),
        ("a\nb/../../a\n", "leaves its folder"),
        ("/etc/a\n", "'/etc/a' leaves its folder"),
        ("a\0\n", "leaves its folder"),
        ("a\n./a\n", "'./a' is another spelling of 'a'"),
        ("a\nb//c\n", "'b//c' is another spelling of 'b/c'"),
        ("a" * 300, "too long"),
        ("ä" * 150, "too long"),
    ],
)
def test_lists_that_are_refused(tree: Tree, text: str, says: str) -> None:
    tree.list("train").write_text(text)
    said = refused(tree)
    assert said.startswith(f"{tree.list('train')}: ")
    assert says in said


def test_a_list_that_is_no_text(tree: Tree) -> None:
    shutil.copy(tree.image("a"), tree.list("train"))
    assert f"{tree.list('train')}: cannot be read as a list" in refused(tree)


def test_ids_may_lie_in_folders(tree: Tree) -> None:
    for path in (tree.image, tree.mask):
        path("far/a").parent.mkdir()
        path("a").rename(path("far/a"))
    tree.list("train").write_text("far/a\nb\n")
    assert [sample.id for sample in voc(tree)] == ["far/a", "b"]


def test_a_list_that_is_not_there(tree: Tree) -> None:
    said = refused(tree, "test")
    assert str(tree.list("test")) in said
    assert "available: train, val" in said
    tree.list("train").unlink()
    tree.list("val").unlink()
    assert "available: none" in refused(tree)


def test_any_list_file_is_a_split(tree: Tree, tmp_path: Path) -> None:
    path = tmp_path / "mine.lst"
    path.write_text("e\nb\n")
    assert [sample.id for sample in voc(tree, str(path))] == ["e", "b"]


def test_folders_that_are_not_there(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.root=.*nowhere: no such folder"):
        VOCSegmentation(tmp_path / "nowhere", 2007)
    with pytest.raises(ConfigError, match=r"year=2006: .* 2007 to 2012"):
        VOCSegmentation(tree.root, 2006)
    with pytest.raises(DataError, match=r"VOC2012: no such folder; data\.root is .* VOC2012/"):
        VOCSegmentation(tree.root, 2012)
    with pytest.raises(DataError, match=r"VOC2007/VOC2007: no such folder"):
        VOCSegmentation(tree.folder, 2007)  # one folder too deep
    for name in ("ImageSets/Segmentation", "JPEGImages"):
        shutil.rmtree(tree.folder / name)
        assert f"{tree.folder / name}: no such folder" in refused(tree)


def test_other_years_are_read_alike(tree: Tree) -> None:
    tree.folder.rename(tree.root / "VOC2012")
    assert VOCSegmentation(tree.root, 2012, "val").ids == ["d", "e"]


def test_an_id_without_image_or_mask(tree: Tree) -> None:
    tree.mask("b").unlink()
    said = refused(tree)
    assert str(tree.mask("b")) in said
    assert str(tree.list("train")) in said
    tree.image("b").unlink()
    assert str(tree.image("b")) in refused(tree)
    assert "SegmentationClassAug" in refused(tree, "val", mask_dir="SegmentationClassAug")
    assert "SegmentationObject" in refused(tree, "val", instances=True)


def test_missing_files_can_wait_until_they_are_read(tree: Tree) -> None:
    tree.mask("b").unlink()
    dataset = voc(tree, missing_ok=True)
    assert dataset[0].id == "a"
    with pytest.raises(DataError, match=f"{tree.mask('b')}: no such file"):
        dataset[1]


def test_a_mask_of_another_size(tree: Tree) -> None:
    tree.write_mask(tree.mask("a"), np.zeros((9, 6)))
    assert refused(tree) == f"{tree.mask('a')}: 6x9 pixels, but {tree.image('a')} has 9x6"


@pytest.mark.parametrize(("classes", "largest"), [(VOC_CLASSES, 20), (("x", "y", "z"), 2)])
def test_a_label_out_of_range(tree: Tree, classes: tuple[str, ...], largest: int) -> None:
    labels = np.full((6, 9), 255)
    labels[0] = largest
    for wrong in (largest + 1, 254):
        tree.write_mask(tree.mask("a"), labels)
        voc(tree, classes=classes)[0]
        spoilt = labels.copy()
        spoilt[4, 7] = wrong
        tree.write_mask(tree.mask("a"), spoilt)
        said = refused(tree, classes=classes)
        assert f"{tree.mask('a')}: label {wrong} at row 4, column 7" in said
        assert f"0..{largest} or 255" in said


def test_255_classes_use_every_value_but_void(tree: Tree) -> None:
    tree.write_mask(tree.mask("a"), np.resize([0, 254, 255], (6, 9)))
    assert voc(tree, classes=[str(i) for i in range(255)])[0].class_map.max() == 255


def test_a_class_list_that_is_none(tree: Tree) -> None:
    with pytest.raises(ConfigError, match="0 classes"):
        voc(tree, classes=[])
    with pytest.raises(ConfigError, match="'x' is listed twice"):
        voc(tree, classes=["x", "x"])


def test_instances_and_boxes(tree: Tree) -> None:
    for name in "abc":
        height, width = VOCSegmentation(tree.root, 2007).size("abc".index(name))
        tree.write_mask(tree.instances(name), np.resize([0, 1, 2, 255, 30], (height, width)))
    tree.annotation("a").parent.mkdir()
    tree.annotation("a").write_text(
        "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax>"
        "<ymax>4</ymax></bndbox></object></annotation>"
    )
    sample, bare, _ = voc(tree, instances=True)
    assert sample.instance_map is not None
    assert sample.instance_map.dtype == torch.uint8
    np.testing.assert_array_equal(sample.instance_map, np.resize([0, 1, 2, 255, 30], (6, 9)))
    assert sample.boxes == (Box("cat", 0, 1, 3, 4),)
    assert bare.boxes == ()
    tree.write_mask(tree.instances("c"), np.zeros((3, 3)))
    assert f"{tree.instances('c')}: 3x3 pixels" in refused(tree, instances=True)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpeg", ".JPG"])
def test_images_of_other_names(tree: Tree, suffix: str) -> None:
    with Image.open(tree.image("a")) as image:
        image.save(tree.image("a").with_suffix(suffix))
        expected = np.array(image)
    tree.image("a").unlink()
    pixels = voc(tree)[0].image.permute(1, 2, 0).numpy()
    if suffix.lower() == ".png":
        np.testing.assert_array_equal(pixels, expected)
    assert pixels.shape == expected.shape


def test_a_data_set_of_ones_own(tree: Tree) -> None:
    with pytest.raises(
        ConfigError, match=r"data\.classes is not set: .* or put a labelmap\.txt into"
    ):
        VOCSegmentation(tree.folder)
    dataset = VOCSegmentation(tree.folder, classes=[str(i) for i in range(21)])
    assert dataset.ids == ["a", "b", "c"]
    assert len(dataset.classes) == 21
    assert len(dataset[0].class_map.unique()) > 3


def test_rgb_masks_are_read_through_the_label_map(tree: Tree) -> None:
    (tree.folder / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nground:0,0,0::\nignored:5,5,5::\nsky:1,2,3::\nsea:9,0,0::"
    )
    table = np.array([(0, 0, 0), (5, 5, 5), (1, 2, 3), (9, 0, 0), palette()[255]], np.uint8)
    for name, size in (("a", (6, 9)), ("b", (9, 6)), ("c", (6, 9))):
        Image.fromarray(table[np.resize(np.arange(5), size)]).save(tree.mask(name))
    dataset = VOCSegmentation(tree.folder)
    assert dataset.classes == ("ground", "sky", "sea")
    expected = np.array([0, 255, 1, 2, 255], np.uint8)[np.resize(np.arange(5), (6, 9))]
    np.testing.assert_array_equal(dataset[0].class_map, expected)
    # The order of data.classes decides the values, not that of the label map.
    dataset = VOCSegmentation(tree.folder, classes=["sky", "sea", "ground"])
    expected = np.array([2, 255, 0, 1, 255], np.uint8)[np.resize(np.arange(5), (6, 9))]
    np.testing.assert_array_equal(dataset[0].class_map, expected)
    with pytest.raises(DataError, match=r"colour \(9, 0, 0\) .* belongs to no class"):
        VOCSegmentation(tree.folder, classes=["sky", "ground"])[0]
    with pytest.raises(DataError, match=f"{tree.mask('a')}: an RGB mask"):
        voc(tree)[0]  # a VOC year has VOC's palette, whatever lies there


def test_the_stat_key_follows_sizes_times_and_lists(tree: Tree, tmp_path: Path) -> None:
    first = voc(tree).stat_keys()[0]
    assert voc(tree).stat_keys()[0] == first
    moved = tmp_path / "moved"
    shutil.copytree(tree.root, moved, copy_function=shutil.copy2)
    assert VOCSegmentation(moved, 2007).stat_keys()[0] == first
    assert voc(tree, "val").stat_keys()[0] != first
    assert voc(tree, classes=[str(i) for i in range(21)]).stat_keys()[0] != first
    seen = {first}
    for path in (tree.image("a"), tree.mask("c")):
        before = path.stat()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
        seen.add(voc(tree).stat_keys()[0])
        after = path.stat()
        path.write_bytes(path.read_bytes() + b"\0")
        os.utime(path, ns=(after.st_atime_ns, after.st_mtime_ns))
        seen.add(voc(tree).stat_keys()[0])
    tree.list("train").write_text("b\na\nc\n")
    seen.add(voc(tree).stat_keys()[0])
    assert len(seen) == 6


def test_the_stat_key_follows_instances_and_colours(tree: Tree) -> None:
    first = voc(tree).stat_keys()[0]
    shutil.copytree(tree.mask("a").parent, tree.instances("a").parent)
    instances = voc(tree, instances=True).stat_keys()[0]
    assert instances != first
    os.utime(tree.instances("b"), ns=(0, 0))
    assert voc(tree, instances=True).stat_keys()[0] != instances
    assert voc(tree).stat_keys()[0] == first
    seen = set()
    for colour in "1,2,3", "1,2,4":
        (tree.folder / "labelmap.txt").write_text(f"ground:0,0,0\nsky:{colour}\n")
        seen.add(VOCSegmentation(tree.folder).stat_keys()[0])
    assert len(seen) == 2


def test_the_synthetic_tree_is_one_of_voc(synth_root: Path) -> None:
    train = VOCSegmentation(synth_root, 2007, classes=[str(i) for i in range(7)], instances=True)
    val = VOCSegmentation(synth_root, 2007, "val")
    assert (len(train), len(val)) == (11, 9)
    for sample in train:
        assert sample.instance_map is not None
        assert set(sample.instance_map.unique().tolist()) - {0, 255} == {
            *range(1, len(sample.boxes) + 1)
        }
        assert (sample.instance_map == 255).equal(sample.class_map == 255)


@pytest.mark.voc
def test_the_real_voc2007(voc_root: Path) -> None:
    train = VOCSegmentation(voc_root, 2007, "train")
    val = VOCSegmentation(voc_root, 2007, "val")
    assert (len(train), len(val)) == (209, 213)
    assert not set(train.ids) & set(val.ids)
    sample = VOCSegmentation(voc_root, 2007, "train", instances=True)[3]
    assert sample.id == train.ids[3]
    assert sample.image.shape == (3, *sample.size)
    assert sample.class_map.shape == sample.size == train.size(3)
    assert sample.instance_map is not None
    assert sample.instance_map.shape == sample.size
    assert sample.boxes
    counts = sum(torch.bincount(sample.class_map.flatten(), minlength=256) for sample in train)
    assert counts.nonzero().flatten().tolist() == [*range(21), 255]
