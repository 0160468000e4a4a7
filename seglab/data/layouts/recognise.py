"""Detects the layout of a folder: the keys of ``data`` that open it. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seglab.data.classes import CLASS_NAMES, LABELMAP
from seglab.data.files import all_suffixes
from seglab.data.layouts.coco_listing import read_listing
from seglab.data.layouts.suffixes import MASKS, matching_suffixes
from seglab.data.layouts.voc import LISTS, YEARS
from seglab.errors import DataError

IMAGES = ("images", "image", "imgs", "img", "jpegimages", "photos", "rgb", "inputs")
OBJECTS = ("instances", "instance", "objects", "segmentationobject")
"""What folders of images, class maps and instance maps are called, in lower case."""

TRAIN = ("train", "training", "train2017", "train2014")
VAL = ("val", "valid", "validation", "val2017", "val2014", "test", "testing")
"""What splits are called, in the order in which they are taken."""


class Layout(NamedTuple):
    """A recognised layout.

    Attributes:
        name: of the layout, for display.
        data: the option of the group ``data``.
        keys: of ``data``, with their values.
    """

    name: str
    data: str
    keys: dict[str, str]


def recognise(source: Path) -> Layout:
    """Return the layout of a folder.

    Raises:
        DataError: the layout is unknown; lists the known ones.
    """
    if not source.is_dir():
        raise DataError(f"{source}: no such folder")
    for find in (_voc, _coco, _pairs):
        if (layout := find(source)) is not None:
            return layout
    raise DataError(
        f"{source}: no layout that is known: JPEGImages/ and SegmentationClass/ (VOC, CVAT, "
        "labelme), COCO's JSON beside its images, or images/ beside masks/"
    )


def _voc(source: Path) -> Layout | None:
    years = [year for year in YEARS if (source / f"VOC{year}" / "JPEGImages").is_dir()]
    if len(years) > 1:
        raise DataError(f"{source}: has VOC{years[0]} and VOC{years[-1]}; give one of them")
    if years:
        return _voc(source / f"VOC{years[0]}")
    if not (source / "JPEGImages").is_dir():
        return None
    name = "VOC"
    name = "labelme" if (source / CLASS_NAMES).is_file() else name
    name = "CVAT" if (source / LABELMAP).is_file() else name
    year = re.fullmatch(r"VOC(20\d\d)", source.name)
    if name == "VOC" and year and int(year[1]) in YEARS:
        return Layout(name, "voc2007", {"root": str(source.parent), "year": year[1]})
    lists = {path.stem for path in (source / LISTS).glob("*.txt")}
    return Layout(name, "folder", {"root": str(source), **_splits(lists)})


def _coco(source: Path) -> Layout | None:
    listings: dict[str, dict[str, Path]] = {}
    for path in sorted(source.glob("*.json")) + sorted(source.glob("*/*.json")):
        inside = path.relative_to(source).as_posix()
        names = [name for name in (*TRAIN, *VAL) if name in re.split(r"[/_.]", inside)]
        pattern, split = inside, path.stem
        if names:
            pattern, split = re.sub(rf"(?<![^/_]){names[0]}(?=[/_.])", "{split}", inside), names[0]
        listings.setdefault(pattern, {})[split] = path
    for pattern, paths in sorted(listings.items(), key=lambda item: -len(item[1])):
        split, path = next(iter(paths.items()))
        try:
            first = read_listing(path).images[0]
        except DataError:
            continue
        folders = ("{split}", "images/{split}", "images", "images/default", ".")
        for folder in (*folders, str(Path(pattern).parent)):
            if (source / folder.replace("{split}", split) / first).is_file():
                keys = {"root": str(source), "annotations": pattern, "image_dir": folder}
                return Layout("COCO", "coco", keys | _splits({*paths}, only=True))
        raise DataError(f"{path}: lists {first}, which is in none of {', '.join(folders)}")
    return None


def _pairs(source: Path) -> Layout | None:
    for images, masks, objects in _places(source):
        folders = [source / folder.replace("{split}", TRAIN[0]) for folder in (images, masks)]
        suffixes = matching_suffixes(_names(folders[0]), _names(folders[1]), mixed=images == masks)
        if suffixes is None:
            continue
        keys = {"root": str(source), "image_dir": images, "mask_dir": masks}
        keys |= {"instance_dir": objects} if objects else {}
        keys |= dict(zip(("image_suffix", "mask_suffix"), suffixes, strict=True))
        lists = {path.stem for path in source.glob("*.txt")}
        splits = _folders(source if "{split}" in images else folders[0])
        return Layout("images beside masks", "pairs", keys | _splits(lists | splits))
    return None


def _places(source: Path) -> Iterator[tuple[str, str, str | None]]:
    """Yield candidate folders of images, class maps and instance maps."""
    for folder, prefix in ((source, ""), (source / TRAIN[0], "{split}/")):
        names = {name.lower(): prefix + name for name in sorted(_folders(folder))}
        images, masks, objects = (
            next((names[name] for name in known if name in names), None)
            for known in (IMAGES, MASKS, OBJECTS)
        )
        if images and masks:
            yield images, masks, objects
    yield ".", ".", None


def _names(folder: Path) -> set[str]:
    """Return the paths of the pictures in and below a folder, without suffixes."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in all_suffixes())
    return {path.relative_to(folder).with_suffix("").as_posix() for path in paths}


def _folders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()


def _splits(names: set[str], only: bool = False) -> dict[str, str]:
    """Return the keys of the splits among ``names``; without two of them, the data is divided."""

    def first(known: Sequence[str]) -> str | None:
        return next((name for name in known if name in names), None)

    train, val = first(TRAIN), first(VAL)
    if train and val:
        return {"train_split": train, "val_split": val}
    one = train or val or (next(iter(names)) if only else None)
    return {"val_fraction": "0.2", **({"train_split": one} if one else {})}
