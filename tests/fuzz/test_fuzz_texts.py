"""Annotations, lists and label maps as they come: read as another reader does, or refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.dom import minidom

import numpy as np
from helpers.damage import damaged
from helpers.fuzzing import check_line, fuzzed, trying
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seglab.data.classes import read_labelmap
from seglab.data.dataset import VOCSegmentation
from seglab.data.files import read_boxes
from seglab.errors import ConfigError, DataError

NUMBERS = [
    "1",
    " 2 ",
    "3.5",
    "-7",
    "1e3",
    "1e999",
    "nan",
    "inf",
    "0x10",
    "1_0",
    "",
    "x",
    "\u0661",
    "9" * 400,
]
BOMB = "<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
PROLOGUES = [
    "",
    '<?xml version="1.0"?>',
    '<?xml version="1.0" encoding="latin-1"?>',
    '<?xml version="1.0" encoding="utf-16"?>',
    '<?xml version="1.0" encoding="no-such"?>',
    f"<!DOCTYPE x [{BOMB}]>",
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
]


@st.composite
def annotations(draw: st.DrawFn) -> bytes:
    """A VOC annotation, right or nearly."""

    def tag(name: str, content: str) -> str:
        kind = draw(st.sampled_from(["right"] * 12 + ["none", "twice", "empty", "open"]))
        whole = f"<{name}>{content}</{name}>"
        return {"right": whole, "none": "", "twice": whole * 2, "empty": f"<{name}/>"}.get(
            kind, f"<{name}>{content}"
        )

    def number() -> str:
        return draw(st.sampled_from(["1", "20", "3.5", *NUMBERS]))

    objects = ""
    for _ in range(draw(st.integers(0, 3))):
        corners = "".join(tag(name, number()) for name in ("xmin", "ymin", "xmax", "ymax"))
        name = draw(st.sampled_from(["cat", "Ä", "&i;", "&e;", "&amp;", "<b/>", "\x01", " dog\n"]))
        flags = tag("difficult", number()) + tag("truncated", "1") + tag("pose", "Left")
        objects += tag("object", tag("name", name) + tag("bndbox", corners) + flags)
    depth = draw(st.sampled_from([0] * 8 + [3000]))
    nested = "<part>" * depth + "</part>" * depth
    text = draw(st.sampled_from(PROLOGUES)) + tag("annotation", objects + nested)
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return draw(damaged(text.encode(encoding, "replace")))


@fuzzed(60)
@given(raw=annotations())
def test_annotations(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(raw)
    with trying("annotations") as came_to:
        try:
            boxes = read_boxes(path)
        except DataError as error:
            check_line(error, path)
            came_to("refused")
            return
        assert b"<!ENTITY" not in raw
        root = minidom.parseString(raw).documentElement
        objects = [node for node in root.childNodes if node.nodeName == "object"]
        assert len(boxes) == len(objects)
        for box, node in zip(boxes, objects, strict=True):
            corners = [box.x0 + 1, box.y0 + 1, box.x1, box.y1]
            assert all(map(math.isfinite, corners))
            assert corners == [first(node, name) for name in ("xmin", "ymin", "xmax", "ymax")]
        came_to("accepted")


def first(node: Any, name: str) -> float:
    """Return the number in the first tag of a name below an object's box."""
    for box in node.childNodes:
        for corner in box.childNodes if box.nodeName == "bndbox" else ():
            if corner.nodeName == name:
                return float(corner.firstChild.data)
    raise AssertionError(f"no {name}")


IDS = st.sampled_from(
    [
        *("a", "b", "sub/c", "a ", "\ta", "", " ", "\ufeff", "#a", "a.jpg", ".", "./a", "a/"),
        *("../a", "../../../etc/passwd", "/etc/passwd", "sub/../../a", "..", "~/a", "a\\..\\b"),
        *("a\0", "\0", "\x0c", "a\u2028b", "Ä", "日本", "a" * 199, "a" * 5000, "sub/" * 900 + "a"),
        *("%2e%2e/a", "a\x1b[31m", "$HOME", "*", "a:b", "con", "-a", "\ud800"),
    ]
)


@st.composite
def lists(draw: st.DrawFn) -> bytes:
    """A list of ids, some of which are there."""
    ends = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    ids = draw(st.lists(IDS | st.text(max_size=8), max_size=6))
    text = (
        draw(st.sampled_from(["", "\ufeff"])) + ends.join(ids) + draw(st.sampled_from(["", ends]))
    )
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "latin-1", "utf-16"]))
    return draw(damaged(text.encode(encoding, "replace")))


def small_tree(folder: Path) -> Path:
    """Write a data set of three samples, one of them in a folder, and what lies outside of it."""
    pixels = Image.fromarray(np.zeros((2, 3), np.uint8))
    for name in ("JPEGImages", "SegmentationClass"):
        for sample in ("data/VOC2007/{}/a", "data/VOC2007/{}/b", "data/VOC2007/{}/sub/c", "{}/a"):
            for suffix in (".jpg", ".png"):
                path = folder / f"{sample.format(name)}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels.save(path)
    (folder / "data/VOC2007/ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    return folder / "data"


@fuzzed(60)
@given(raw=lists(), missing_ok=st.booleans())
def test_lists(tmp_path: Path, raw: bytes, missing_ok: bool) -> None:
    root = small_tree(tmp_path) if not (tmp_path / "data").is_dir() else tmp_path / "data"
    path = root / "VOC2007/ImageSets/Segmentation/train.txt"
    path.write_bytes(raw)
    with trying("lists") as came_to:
        try:
            dataset = VOCSegmentation(root, 2007, missing_ok=missing_ok)
        except DataError as error:
            check_line(error)
            came_to("refused")
            return
        assert dataset.ids == [
            one.strip() for one in raw.decode("utf-8-sig").splitlines() if one.strip()
        ]
        assert len(set(dataset.ids)) == len(dataset.ids) > 0
        for file in (*dataset.images, *dataset.masks):
            assert file.resolve().is_relative_to((root / "VOC2007").resolve()), file
        for index in range(len(dataset)):
            try:
                assert dataset[index].size == (2, 3)
            except DataError as error:
                assert missing_ok
                check_line(error)
        came_to("accepted")


@st.composite
def label_maps(draw: st.DrawFn) -> bytes:
    """A ``labelmap.txt`` as CVAT writes it, or nearly."""
    number = st.sampled_from(["0", "128", "255", " 7", *NUMBERS, "256", "-1"])
    right = st.sampled_from(["0", "64", "128", " 192", "255"])
    lines = []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(
            st.sampled_from(["cat", "dog", "background", "void", "", "Ä", "a b", "#", "</script>"])
        )
        odd = draw(st.integers(0, 5)) == 0
        colour = ",".join(draw(st.lists(number if odd else right, min_size=3, max_size=3 + odd)))
        lines.append(
            draw(st.sampled_from([f"{name}:{colour}::"] * 6 + [f"{name}:{colour}", name, ""]))
        )
    text = draw(st.sampled_from(["", "\ufeff"])) + "\n".join(lines)
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "latin-1", "utf-16"]))
    return draw(damaged(text.encode(encoding, "replace")))


@fuzzed(40)
@given(raw=label_maps())
def test_label_maps(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "labelmap.txt"
    path.write_bytes(raw)
    root = small_tree(tmp_path) if not (tmp_path / "data").is_dir() else tmp_path / "data"
    with trying("label maps") as came_to:
        try:
            colours = read_labelmap(path)
            assert all(0 <= value <= 255 for colour in colours.values() for value in colour)
            assert len(set(colours.values())) == len(colours)
            folder = root / "VOC2007"
            (folder / "labelmap.txt").write_bytes(raw)
            (folder / "ImageSets/Segmentation/train.txt").write_text("a\n")
            dataset = VOCSegmentation(folder)
            assert dataset[0].class_map.max() == 0
        except (ConfigError, DataError) as error:
            check_line(error)
            came_to("refused")
        else:
            came_to("accepted")
