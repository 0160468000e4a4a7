"""What a pixel's value means: palette, label maps, and where the class names come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from seglab.data.class_lists import class_names
from seglab.data.classes import (
    SYNTHETIC_CLASSES,
    VOC_CLASSES,
    check_class_names,
    flat_palette,
    palette,
    read_labelmap,
)
from seglab.errors import ConfigError, DataError


def test_palette_follows_vocs_rule() -> None:
    def reference(index: int) -> tuple[int, ...]:  # VOClabelcolormap.m, line by line
        channels = [0, 0, 0]
        for j in range(8):
            for c in range(3):
                channels[c] |= (index >> c & 1) << (7 - j)
            index >>= 3
        return tuple(channels)

    assert palette() == [reference(index) for index in range(256)]
    spots = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 255: (224, 224, 192)}
    assert {index: palette()[index] for index in spots} == spots
    assert len(set(palette())) == 256
    assert flat_palette()[3:6] == [128, 0, 0]
    assert len(flat_palette()) == 768


def test_voc_has_20_classes_after_the_background() -> None:
    assert len(VOC_CLASSES) == 21
    assert VOC_CLASSES[0] == SYNTHETIC_CLASSES[0] == "background"
    assert VOC_CLASSES[15] == "person"
    assert len(SYNTHETIC_CLASSES) == 7


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_labelmap_as_cvat_exports_it(tmp_path: Path, bom: bytes, end: bytes) -> None:
    path = tmp_path / "labelmap.txt"
    lines = [b"# label:color_rgb:parts:actions", b"background:0,0,0::", b"", b"  # by hand", b""]
    lines += [b"pole light: 250, 50,1:a,b:c", b" sky :1,2,3", "Straße:4,5,6::".encode()]
    path.write_bytes(bom + end.join(lines) + end)
    colours = read_labelmap(path)
    assert list(colours.items()) == [
        ("background", (0, 0, 0)),
        ("pole light", (250, 50, 1)),
        ("sky", (1, 2, 3)),
        ("Straße", (4, 5, 6)),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sky", "not 'name:red"),
        ("sky:1,2", "not 'name:red"),
        ("sky:1,2,3,4", "not 'name:red"),
        ("sky:red,2,3", "not 'name:red"),
        ("sky:1,2,256", "0..255"),
        ("sky:-1,2,3", "0..255"),
        (":1,2,3", "a name"),
        ("background:1,2,3", "twice"),
        ("sky:0,0,0", "twice"),
    ],
)
def test_labelmap_errors_name_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "labelmap.txt"
    path.write_text(f"# comment\nbackground:0,0,0::\n{line}\n")
    with pytest.raises(DataError, match=says) as caught:
        read_labelmap(path)
    assert str(caught.value).startswith(f"{path}:3: ")


def test_labelmap_that_is_no_text_or_names_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labelmap.txt"
    with pytest.raises(DataError, match="cannot be read as a label map"):
        read_labelmap(path)
    path.write_bytes(b"sky:\xff\xfe")
    with pytest.raises(DataError, match="cannot be read as a label map"):
        read_labelmap(path)
    path.write_text("# nothing\n")
    with pytest.raises(DataError, match="contains no class"):
        read_labelmap(path)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "0 classes"),
        (["one"], "1 classes"),
        ([str(i) for i in range(256)], "256 classes"),
        (["a", " "], "class 1 has an empty name"),
        (["a", "b", "a"], "'a' is listed twice"),
    ],
)
def test_class_lists_that_are_none(names: list[str], says: str) -> None:
    with pytest.raises(DataError, match=f"^KEY: .*{says}"):
        check_class_names(names, "KEY")
    with pytest.raises(ConfigError, match=rf"^data\.classes: .*{says}"):
        class_names(names, synthetic=False, year=2007, root=None)


def test_255_classes_are_the_most() -> None:
    assert len(check_class_names([str(i) for i in range(255)], "KEY")) == 255


def test_where_the_names_come_from(tmp_path: Path) -> None:
    root = str(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.root is not set"):
        class_names(None, synthetic=False, year=None, root=None)
    with pytest.raises(ConfigError, match=r"data\.classes is not set"):
        class_names(None, synthetic=False, year=None, root=root)
    (tmp_path / "labelmap.txt").write_text("void:9,9,9\nsky:1,2,3\nignored:8,8,8\nsea:4,5,6\n")
    assert class_names(None, synthetic=False, year=None, root=root) == ("sky", "sea")
    assert class_names(None, synthetic=False, year=2012, root=root) == VOC_CLASSES
    assert class_names(None, synthetic=True, year=2007, root=root) == SYNTHETIC_CLASSES
    assert class_names(["x", "y"], synthetic=True, year=2007, root=root) == ("x", "y")
    (tmp_path / "labelmap.txt").write_text("void:9,9,9\nsky:1,2,3\n")
    with pytest.raises(DataError, match=r"labelmap\.txt: 1 classes"):
        class_names(None, synthetic=False, year=None, root=root)
