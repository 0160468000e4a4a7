"""A small data set in VOC's layout, generated from a seed: the default data, also used by tests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import xml.etree.ElementTree as ET  # only writes; untrusted files are read with defusedxml
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from seglab.data.classes import SYNTHETIC_CLASSES, VOID, flat_palette
from seglab.data.shapes import Bytes, draw, void_radius
from seglab.errors import DataError
from seglab.runtime.private_folders import cache_folder, check_made, make_private

FORMAT_VERSION = 7
"""Raise it with every change that changes a byte, or old caches would pass for new ones."""

_YEAR = "VOC2007"


@dataclass(frozen=True)
class SyntheticSpec:
    """The settings: images per split, the usual size in pixels, at least 32, and the seed.

    About one image in four has another size or orientation, because VOC has many sizes.
    """

    train: int = 64
    val: int = 32
    width: int = 128
    height: int = 96
    seed: int = 0


def default_root(spec: SyntheticSpec) -> Path:
    """Return the folder for ``spec`` in the user's cache, without creating it.

    Raises:
        DataError: it exists and belongs to another user.
    """
    key = json.dumps([FORMAT_VERSION, asdict(spec)], sort_keys=True).encode()
    root = cache_folder() / f"synthetic-{hashlib.sha256(key).hexdigest()[:8]}"
    for path in (root, root / _YEAR):
        check_made(path, "give data.root=DIR")
    return root


def ensure(root: Path, spec: SyntheticSpec) -> Path:
    """Create ``root/VOC2007`` if missing, and return ``root``.

    Safe with several processes: one draws, the others wait. An existing folder is used as it is,
    whatever ``spec``; it is always complete, because it is renamed only when finished.

    Raises:
        DataError: the folder cannot be written.
    """
    _make(root, spec, keep=True)
    return root


def write_tree(root: Path, spec: SyntheticSpec) -> None:
    """Write ``root/VOC2007`` in VOC's layout; the bytes depend on ``spec`` alone.

    ``JPEGImages`` holds RGB JPEGs; ``SegmentationClass`` and ``SegmentationObject`` palette PNGs of
    uint8 labels (0..6) and instance ids (1..n), 255 void around every object; ``Annotations`` one
    XML per image with 1-based inclusive boxes in pixels; ``ImageSets/Segmentation`` the lists.

    Raises:
        DataError: ``root/VOC2007`` exists, or the folder cannot be written.
    """
    _make(root, spec, keep=False)


def _make(root: Path, spec: SyntheticSpec, keep: bool) -> None:
    final = root / _YEAR
    temporary = root / f".{_YEAR}.{os.getpid()}.tmp"
    try:
        if keep and final.is_dir():
            return  # before the lock, so that a read-only data set can be used
        if cache_folder() in root.parents:
            make_private(root)
        else:
            root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{_YEAR}.lock"):
            if keep and final.is_dir():
                return
            if final.exists():
                raise DataError(f"{final} exists already and is not overwritten")
            for leftover in root.glob(f".{_YEAR}.*.tmp"):  # its writer has died: we hold the lock
                shutil.rmtree(leftover)
            try:
                _write(temporary, spec)
                temporary.replace(final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"{root}: cannot write the synthetic data there ({reason}); data.root=DIR sets another"
        ) from error


def _write(folder: Path, spec: SyntheticSpec) -> None:
    lists = folder / "ImageSets" / "Segmentation"
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "Annotations"):
        (folder / name).mkdir(parents=True)
    lists.mkdir(parents=True)
    ids = [f"{index + 1:06d}" for index in range(spec.train + spec.val)]
    for index, name in enumerate(ids):
        image, instances, objects = draw(spec.seed, index, spec.width, spec.height)
        labels = np.full(256, VOID, np.uint8)
        labels[: len(objects) + 1] = [0, *(label for label, _ in objects)]
        Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg", quality=92)
        for kind, array in (("Class", labels[instances]), ("Object", instances)):
            mask = Image.fromarray(array)
            mask.putpalette(flat_palette())
            mask.save(folder / f"Segmentation{kind}" / f"{name}.png")
        tree = _annotation(name, instances, objects, void_radius(spec.width, spec.height))
        tree.write(folder / "Annotations" / f"{name}.xml", encoding="utf-8")
    splits = {"train": ids[: spec.train], "val": ids[spec.train :], "trainval": ids}
    for split, members in splits.items():
        text = "".join(f"{name}\n" for name in members)
        (lists / f"{split}.txt").write_text(text, encoding="ascii", newline="\n")


def _build(builder: ET.TreeBuilder, tag: str, content: Any) -> None:
    """Add an element with text or, if ``content`` is a list of (tag, content), with children."""
    builder.start(tag, {})
    if isinstance(content, list):
        for inner in content:
            _build(builder, *inner)
    else:
        builder.data(str(content))
    builder.end(tag)


def _annotation(
    name: str, instances: Bytes, objects: list[tuple[int, bool]], radius: float
) -> ET.ElementTree[ET.Element]:
    height, width = instances.shape
    margin = int(radius)  # the outline is the middle of the void band

    content: list[tuple[str, Any]] = [
        ("folder", _YEAR),
        ("filename", f"{name}.jpg"),
        ("source", [("database", "seglab synthetic"), ("annotation", "PASCAL VOC2007")]),
        ("size", [("width", width), ("height", height), ("depth", 3)]),
        ("segmented", 1),
    ]
    for instance, (label, truncated) in enumerate(objects, 1):
        rows, columns = np.nonzero(instances == instance)
        box = [
            ("xmin", max(columns.min() + 1 - margin, 1)),
            ("ymin", max(rows.min() + 1 - margin, 1)),
            ("xmax", min(columns.max() + 1 + margin, width)),
            ("ymax", min(rows.max() + 1 + margin, height)),
        ]
        node = [
            ("name", SYNTHETIC_CLASSES[label]),
            ("pose", "Unspecified"),
            ("truncated", int(truncated)),
            ("difficult", 0),
            ("bndbox", box),
        ]
        content.append(("object", node))
    builder = ET.TreeBuilder()
    _build(builder, "annotation", content)
    root = builder.close()
    ET.indent(root, "\t")
    return ET.ElementTree(root)
