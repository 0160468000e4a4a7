"""Lists of many ids: the same files are found as one by one, and the same key follows."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import pytest

from seglab.data import paths
from seglab.data.layouts.voc import FolderFiles
from seglab.data.paths import MANY
from seglab.errors import DataError

CLASSES = ["a", "b"]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a data set of some more ids than are looked for one by one; some in sub-folders."""
    names = [f"{'north/' * (number % 7 == 0)}{number:05}" for number in range(MANY + 203)]
    for folder, suffix in (("JPEGImages", ".jpg"), ("SegmentationClass", ".png")):
        (tmp_path / folder / "north").mkdir(parents=True)
        for number, name in enumerate(names):
            own = ".PNG" if suffix == ".jpg" and number % 5 == 0 else suffix
            (tmp_path / folder / f"{name}{own}").write_bytes(b"x" * (number % 11))
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names))
    return tmp_path


def plain_files(root: Path, names: list[str]) -> list[tuple[Path, Path]]:
    found = []
    for name in names:
        (image,) = root.glob(f"JPEGImages/{name}.*")
        found.append((image, root / f"SegmentationClass/{name}.png"))
    return found


def test_the_files_are_those_that_a_look_at_each_finds(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = many / "JPEGImages/00001.jpg"
    link.rename(many / "elsewhere.jpg")
    link.symlink_to(many / "elsewhere.jpg")
    files = FolderFiles(many, None, "train", classes=CLASSES)
    assert [*zip(files.images, files.masks, strict=True)] == plain_files(many, files.ids)
    assert files.images[-1] == [*files.images][-1]
    assert files.images[3:9:2] == [*files.images][3:9:2]
    key = files.stat_keys()
    monkeypatch.setattr(paths, "MANY", 10**9)
    one_by_one = FolderFiles(many, None, "train", classes=CLASSES)
    assert [*one_by_one.images] == [*files.images]
    assert one_by_one.stat_keys() == key


def test_many_ids_are_not_asked_for_one_by_one(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    is_file = Path.is_file

    def note(self: Path) -> bool:
        asked.append(self)
        return is_file(self)

    monkeypatch.setattr(Path, "is_file", note)
    files = FolderFiles(many, None, "train", classes=CLASSES)
    assert len(files) == MANY + 203
    assert len(asked) < 10


def test_the_key_is_a_digest_of_names_sizes_and_times(many: Path) -> None:
    files = FolderFiles(many, None, "train", classes=CLASSES)
    stats = hashlib.sha256(repr((files.classes, None)).encode())
    changes = hashlib.sha256()
    pairs = plain_files(many, files.ids)
    for start in range(0, len(pairs), 500):
        images, masks = zip(*pairs[start : start + 500], strict=True)
        names = [path.name for path in (*images, *masks)]
        stats.update("\0".join([*files.ids[start : start + 500], *names]).encode())
        for pair in pairs[start : start + 500]:
            for one in map(Path.stat, pair):
                stats.update(struct.pack("=qq", one.st_size, one.st_mtime_ns))
                changes.update(struct.pack("=qqq", one.st_dev, one.st_ino, one.st_ctime_ns))
    before = files.stat_keys()
    assert before == (stats.hexdigest(), changes.hexdigest())
    last = many / "SegmentationClass/01202.png"
    os.utime(last, ns=(1, 1))
    after = files.stat_keys()
    assert after[0] != before[0]
    last.unlink()
    with pytest.raises(DataError, match=r"01202\.png: No such file"):
        files.stat_keys()


@pytest.mark.parametrize("name", ["00000.PNG", "01199.jpg"])
def test_a_missing_file_among_many_is_named(many: Path, name: str) -> None:
    stem = name.partition(".")[0]
    north = "north/" if int(stem) % 7 == 0 else ""
    (many / f"JPEGImages/{north}{name}").unlink()
    with pytest.raises(DataError, match=rf"{stem}\.jpg: not found, but .*train\.txt lists"):
        FolderFiles(many, None, "train", classes=CLASSES)
    left = FolderFiles(many, None, "train", classes=CLASSES, missing_ok=True)
    assert left.images[left.ids.index(north + stem)].name == f"{stem}.jpg"
