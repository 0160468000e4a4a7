"""The built-in data set: VOC's layout, honest difficulty, the same bytes every time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.data import synthetic
from seglab.data.classes import SYNTHETIC_CLASSES, VOID, flat_palette
from seglab.data.synthetic import SyntheticSpec, default_root, ensure, write_tree
from seglab.errors import DataError

SMALL = SyntheticSpec(train=3, val=2)
SPEC = SyntheticSpec()


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    write_tree(root, SPEC)
    return root / "VOC2007"


def ids(voc: Path, split: str) -> list[str]:
    return (voc / f"ImageSets/Segmentation/{split}.txt").read_text().splitlines()


def mask(voc: Path, kind: str, name: str) -> np.ndarray:
    return np.asarray(Image.open(voc / f"Segmentation{kind}" / f"{name}.png"))


def pixels(voc: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """All colours ``(N, 3)`` and labels ``(N,)`` of a split, without void."""
    colours, labels = [], []
    for name in ids(voc, split):
        label = mask(voc, "Class", name)
        colours.append(np.asarray(Image.open(voc / f"JPEGImages/{name}.jpg"))[label != VOID])
        labels.append(label[label != VOID])
    return np.concatenate(colours), np.concatenate(labels)


def mean_iou(truth: np.ndarray, prediction: np.ndarray) -> float:
    count = len(SYNTHETIC_CLASSES)
    matrix = np.bincount(truth * np.int64(count) + prediction, minlength=count**2)
    matrix = matrix.reshape(count, count)
    hits = np.diag(matrix)
    return float(np.mean(hits / (matrix.sum(0) + matrix.sum(1) - hits)))


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in (root / "VOC2007").rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_tree_is_vocs(voc: Path) -> None:
    train, val, both = (ids(voc, split) for split in ("train", "val", "trainval"))
    assert (len(train), len(val)) == (64, 32)
    assert train + val == both == [f"{number:06d}" for number in range(1, 97)]
    for folder, suffix in {
        "JPEGImages": "jpg",
        "SegmentationClass": "png",
        "SegmentationObject": "png",
        "Annotations": "xml",
    }.items():
        assert sorted(path.name for path in (voc / folder).iterdir()) == [
            f"{name}.{suffix}" for name in both
        ]


def test_images_are_jpegs_and_masks_have_vocs_palette(voc: Path) -> None:
    sizes = set()
    for name in ids(voc, "trainval"):
        with Image.open(voc / f"JPEGImages/{name}.jpg") as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            sizes.add(image.size)
        for kind in ("Class", "Object"):
            with Image.open(voc / f"Segmentation{kind}/{name}.png") as png:
                assert (png.format, png.mode, png.size) == ("PNG", "P", image.size)
                assert png.getpalette() == flat_palette()
    assert sizes == {(128, 96), (96, 128), (128, 85)}


def test_class_maps_and_instance_maps_agree(voc: Path) -> None:
    for name in ids(voc, "trainval"):
        classes, instances = mask(voc, "Class", name), mask(voc, "Object", name)
        assert set(np.unique(classes)) <= {*range(7), VOID}
        np.testing.assert_array_equal(classes == VOID, instances == VOID)
        np.testing.assert_array_equal(classes == 0, instances == 0)
        numbers = sorted(set(np.unique(instances)) - {0, VOID})
        assert numbers == list(range(1, len(numbers) + 1))
        assert 1 <= len(numbers) <= 4
        for number in numbers:
            assert len(np.unique(classes[instances == number])) == 1


def test_annotations_agree_with_the_instance_maps(voc: Path) -> None:
    truncated, total = 0, 0
    for name in ids(voc, "trainval"):
        root = ET.parse(voc / f"Annotations/{name}.xml").getroot()
        classes, instances = mask(voc, "Class", name), mask(voc, "Object", name)
        height, width = classes.shape
        assert root.findtext("folder") == "VOC2007"
        assert root.findtext("filename") == f"{name}.jpg"
        assert root.findtext("segmented") == "1"
        size = [int(root.findtext(f"size/{key}", "")) for key in ("width", "height", "depth")]
        assert size == [width, height, 3]
        objects = root.findall("object")
        assert len(objects) == len(set(np.unique(instances)) - {0, VOID})
        for number, node in enumerate(objects, 1):
            rows, columns = np.nonzero(instances == number)
            label = classes[rows[0], columns[0]]
            assert node.findtext("name") == SYNTHETIC_CLASSES[label]
            assert node.findtext("pose") == "Unspecified"
            assert node.findtext("difficult") == "0"
            box = [
                int(node.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")
            ]
            tight = [columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1]
            limits = [1, 1, width, height]
            # Half the void band, 2 whole pixels at this size, lies between object and outline.
            outline = [tight[0] - 2, tight[1] - 2, tight[2] + 2, tight[3] + 2]
            assert box == [
                max(outline[0], limits[0]),
                max(outline[1], limits[1]),
                min(outline[2], limits[2]),
                min(outline[3], limits[3]),
            ]
            cut = node.findtext("truncated") == "1"
            if any(one == limit for one, limit in zip(tight, limits, strict=True)):
                assert cut  # a pixel of it lies at the image's border
            truncated, total = truncated + cut, total + 1
    assert 0.2 < truncated / total < 0.7


@pytest.mark.parametrize(
    ("spec", "width"), [(SPEC, 4.8), (SyntheticSpec(width=200, height=160), 5.0)]
)
def test_the_void_band_is_about_five_pixels_wide(spec: SyntheticSpec, width: float) -> None:
    for index in range(40):
        _, instances, objects = synthetic.draw(spec.seed, index, spec.width, spec.height)
        if objects == [(SYNTHETIC_CLASSES.index("circle"), False)]:
            inner = np.sqrt((instances == 1).sum() / np.pi)
            outer = np.sqrt((instances != 0).sum() / np.pi)
            assert outer - inner == pytest.approx(width, abs=0.3)
            return
    pytest.fail("no image of a single whole circle")


def test_every_class_is_about_equally_frequent_in_both_splits(voc: Path) -> None:
    for split in ("train", "val"):
        counts = dict.fromkeys(SYNTHETIC_CLASSES[1:], 0)
        for name in ids(voc, split):
            for node in ET.parse(voc / f"Annotations/{name}.xml").iter("object"):
                counts[node.findtext("name", "")] += 1
        assert min(counts.values()) >= 0.8 * max(counts.values())


def test_neither_background_nor_colour_alone_solves_it(voc: Path) -> None:
    colours, labels = pixels(voc, "train")
    unseen, truth = pixels(voc, "val")
    assert 0.10 < mean_iou(truth, np.zeros_like(truth)) < 0.14

    means = np.stack([colours[labels == label].mean(0) for label in range(7)])
    nearest = ((unseen[:, None].astype(float) - means) ** 2).sum(2).argmin(1)
    assert mean_iou(truth, nearest) < 0.3

    def bins(colour: np.ndarray) -> np.ndarray:
        return (colour // 32).astype(np.int64) @ np.array([64, 8, 1])

    histogram = np.stack([np.bincount(bins(colours[labels == k]), minlength=512) for k in range(7)])
    assert mean_iou(truth, histogram.argmax(0)[bins(unseen)]) < 0.3
    balanced = histogram / histogram.sum(1, keepdims=True)
    assert mean_iou(truth, balanced.argmax(0)[bins(unseen)]) < 0.3


def test_the_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tree(tmp_path / name, SMALL)
    write_tree(tmp_path / "other", SyntheticSpec(train=3, val=2, seed=1))
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    images = [name for name in one if name.endswith(".jpg")]
    assert images
    assert all(one[name] != other[name] for name in images)


def test_more_images_change_none_of_the_others(tmp_path: Path) -> None:
    write_tree(tmp_path / "few", SMALL)
    write_tree(tmp_path / "many", SyntheticSpec(train=8, val=5))
    few, many = digests(tmp_path / "few"), digests(tmp_path / "many")
    for name in few:
        if "ImageSets" not in name:
            assert few[name] == many[name]


def test_small_images_keep_their_objects() -> None:
    spec = SyntheticSpec(width=48, height=32)
    for index in range(12):
        _, instances, objects = synthetic.draw(spec.seed, index, spec.width, spec.height)
        assert len(set(np.unique(instances)) - {0, VOID}) == len(objects) >= 1


def test_the_default_root_follows_the_spec() -> None:
    assert default_root(SPEC) == default_root(SyntheticSpec())
    assert default_root(SPEC) != default_root(SyntheticSpec(seed=1))
    assert default_root(SPEC).name.startswith("synthetic-")


def test_ensure_makes_a_tree_once_and_takes_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert ensure(tmp_path, SMALL) == tmp_path
    before = digests(tmp_path)
    ensure(tmp_path, SyntheticSpec(train=4, val=2, seed=5))
    assert digests(tmp_path) == before
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_write_tree_overwrites_nothing(tmp_path: Path) -> None:
    write_tree(tmp_path, SMALL)
    before = digests(tmp_path)
    with pytest.raises(DataError, match="exists already"):
        write_tree(tmp_path, SMALL)
    assert digests(tmp_path) == before


def test_an_unwritable_place_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    root = tmp_path / "file" / "data"
    with pytest.raises(DataError) as caught:
        ensure(root, SMALL)
    message = str(caught.value)
    assert str(root) in message
    assert "data.root=DIR" in message
    assert "\n" not in message


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = synthetic.draw

    def full_disk(seed: int, index: int, width: int, height: int) -> object:
        if index == 2:
            raise OSError(28, "No space left on device")
        return real(seed, index, width, height)

    monkeypatch.setattr(synthetic, "draw", full_disk)
    with pytest.raises(DataError, match="No space left"):
        ensure(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


MAKER = """
import sys
from pathlib import Path
from seglab.data.synthetic import SyntheticSpec, ensure
ensure(Path(sys.argv[1]), SyntheticSpec(train=int(sys.argv[2]), val=2))
"""


def start(root: Path, train: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKER, str(root), str(train)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_two_processes_make_one_tree(tmp_path: Path) -> None:
    makers = [start(tmp_path / "shared", 8) for _ in range(2)]
    for maker in makers:
        output, _ = maker.communicate(timeout=60)
        assert maker.returncode == 0, output.decode()
    write_tree(tmp_path / "alone", SyntheticSpec(train=8, val=2))
    assert digests(tmp_path / "shared") == digests(tmp_path / "alone")
    assert list((tmp_path / "shared").glob(".*.tmp")) == []


def test_what_a_killed_maker_left_is_never_used_and_cleaned_up(tmp_path: Path) -> None:
    maker = start(tmp_path, 5000)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".*.tmp/JPEGImages/*.jpg")):
        assert maker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    maker.kill()
    maker.communicate()
    assert list(tmp_path.glob(".*.tmp"))
    assert not (tmp_path / "VOC2007").exists()

    ensure(tmp_path, SMALL)
    assert list(tmp_path.glob(".*.tmp")) == []
    assert len(ids(tmp_path / "VOC2007", "trainval")) == 5
