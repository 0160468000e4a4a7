"""COCO's JSON: categories, images, and the annotations of each. Imports neither torch nor numpy.

A file of half a gigabyte takes seconds to parse, so it is read once per process. Each image is kept
as one JSON string, which is cheap to pass to loading processes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from seglab.data.classes import check_class_names
from seglab.data.text_files import quoted, read_bytes
from seglab.errors import DataError

MAX_LISTING_BYTES = 2**31
"""COCO's own largest has 470 MB."""

SHOWN = 5
"""Files that an error names in place of a missing one."""

BACKGROUND = "background"


@dataclass(frozen=True)
class Listing:
    """The content of a COCO file.

    Attributes:
        path: the file.
        categories: the name of each category id, by id.
        images: the name of each image file, in the order of the list.
        entries: per image, ``{"image": NAME, "size": [H, W], "annotations": […]}`` as JSON.
    """

    path: Path
    categories: dict[int, str]
    images: list[str]
    entries: list[bytes]

    @property
    def classes(self) -> tuple[str, ...]:
        """``background``, then the categories by id."""
        names = [name for name in self.categories.values() if name != BACKGROUND]
        return check_class_names([BACKGROUND, *names], str(self.path))


def read_listing(path: Path) -> Listing:
    """Read a file, once per process.

    Raises:
        DataError: missing, too large, not JSON, or not in COCO's format; names the file.
    """
    try:
        stat = path.stat()
    except OSError as error:
        there = ", ".join(sorted(one.name for one in path.parent.glob("*.json"))[:SHOWN])
        hint = f"there is {there}; give data.annotations" if there else "see data.annotations"
        raise DataError(f"{path}: {error.strerror or error}; {hint}") from None
    return _read(path, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


def coco_classes(paths: list[Path]) -> tuple[str, ...]:
    """Return the classes of a data set whose splits are listed in ``paths``.

    Raises:
        DataError: as :func:`read_listing`; the categories of two files differ.
    """
    first, *others = (read_listing(path) for path in paths)
    for other in others:
        if other.categories != first.categories:
            odd = dict(other.categories.items() ^ first.categories.items())
            name = next(iter(odd.values()))
            raise DataError(
                f"{other.path}: its categories are not those of {first.path} ({name!r}); "
                "give data.classes=[background,…]"
            )
    return first.classes


@lru_cache(maxsize=4)
def _read(path: Path, stat: tuple[int, ...]) -> Listing:
    try:
        content = json.loads(read_bytes(path, MAX_LISTING_BYTES))
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path}: cannot be read as COCO's JSON: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: not COCO's JSON: it should be an object with images, …")
    categories: dict[int, str] = {}
    for item in _items(path, content, "categories"):
        number = _field(path, item, "id", int)
        if number in categories:
            raise DataError(f"{path}: two categories have the id {number}")
        categories[number] = _field(path, item, "name", str)
    images: dict[Any, tuple[str, list[int]]] = {}
    for item in _items(path, content, "images"):
        name, key = _field(path, item, "file_name", str), _key(path, item, "id", "image")
        size = [_field(path, item, side, int) for side in ("height", "width")]
        if min(size) < 1:
            raise DataError(f"{path}: image {quoted(name)} has {size[1]}x{size[0]} pixels")
        if key in images:
            raise DataError(f"{path}: two images have the id {key}")
        _check_name(path, name)
        images[key] = name, size
    if not images:
        raise DataError(f"{path}: lists no image")
    objects: dict[Any, list[dict[str, Any]]] = {key: [] for key in images}
    for number, item in enumerate(_items(path, content, "annotations")):
        name = f"annotation {item.get('id', f'number {number}')}"
        image, category = _key(path, item, "image_id", name), _field(path, item, "category_id", int)
        if image not in objects:
            raise DataError(f"{path}: {name}: no image has the id {image}")
        if category not in categories:
            raise DataError(f"{path}: {name}: no category has the id {category}")
        shape = item.get("segmentation")
        if not isinstance(shape, list | dict) or not shape:
            raise DataError(
                f"{path}: {name} of image {quoted(images[image][0])} has no segmentation; "
                "boxes alone are not enough"
            )
        crowd = int(item.get("iscrowd") in (1, True))
        objects[image].append(
            {"name": name, "category": category, "crowd": crowd, "segmentation": shape}
        )
    entries = [
        json.dumps({"image": name, "size": size, "annotations": objects[key]}).encode()
        for key, (name, size) in images.items()
    ]
    ordered = dict(sorted(categories.items()))
    return Listing(path, ordered, [name for name, _ in images.values()], entries)


def _items(path: Path, content: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    items = content.get(key)
    if not isinstance(items, list):
        raise DataError(f"{path}: not COCO's JSON: it has no list {key!r}")
    for item in items:
        if not isinstance(item, dict):
            raise DataError(f"{path}: {quoted(str(item))} in {key!r} is no object")
        yield item


def _field(path: Path, item: dict[str, Any], key: str, kind: type[Any]) -> Any:
    value = item.get(key)
    if isinstance(value, float) and kind is int and value.is_integer():
        return int(value)  # some tools write all numbers as floats
    if not isinstance(value, kind) or isinstance(value, bool):
        what = "a whole number" if kind is int else "a text"
        raise DataError(f"{path}: {key!r} of {quoted(str(item))} should be {what}")
    return value


def _key(path: Path, item: dict[str, Any], key: str, name: str) -> int | str:
    value = item.get(key)
    if not isinstance(value, int | str):
        raise DataError(f"{path}: {name}: {key!r} is {quoted(str(value))}, no id")
    return value


def _check_name(path: Path, name: str) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or {*name} & {"\0", "\\"} or not pure.name:
        raise DataError(f"{path}: file_name {quoted(name)} leaves its folder")
    try:
        if max(len(os.fsencode(part)) for part in pure.parts) > 255:
            raise ValueError
    except ValueError:  # a lone surrogate cannot be encoded
        raise DataError(f"{path}: file_name {quoted(name)} is no file's name") from None
