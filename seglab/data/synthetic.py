"""A small data set in VOC's own layout, drawn from a seed: the default data, and the tests' too.

Textured shapes lie on textured grounds, overlap, and leave the picture. The objects of all classes
take colours and patterns from one distribution, so only its outline tells what an object is.
Grounds take the same patterns in paler colours: colour hints at *whether*, never at *what*.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import xml.etree.ElementTree as ET  # only builds annotations; strangers' are read with defusedxml
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from seglab.data.classes import SYNTHETIC_CLASSES, VOID, flat_palette
from seglab.errors import DataError

FORMAT_VERSION = 2
"""Raise it with every change that changes a byte, or old caches would pass for new ones."""

GROUND_VIVIDNESS, OBJECT_VIVIDNESS = 0.4, 1.6
"""How far colours stand from grey. Made equal, a small CNN hardly finds the objects at all."""

_YEAR = "VOC2007"

_Floats = NDArray[np.float64]
_Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class SyntheticSpec:
    """What to draw: images per split, the usual size in pixels, and the seed.

    About one image in four has another size, upright or flatter, as VOC has many sizes.

    Raises:
        DataError: an empty split, a side under 32 pixels, or a negative seed.
    """

    train: int = 64
    val: int = 32
    width: int = 128
    height: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("train", 1), ("val", 1), ("width", 32), ("height", 32), ("seed", 0)):
            if getattr(self, name) < least:
                raise DataError(f"synthetic data: {name}={getattr(self, name)} is below {least}")


def default_root(spec: SyntheticSpec) -> Path:
    """Return the folder in the user's cache that belongs to ``spec``; makes nothing."""
    key = json.dumps([FORMAT_VERSION, asdict(spec)], sort_keys=True).encode()
    cache = platformdirs.user_cache_path("seglab", appauthor=False)
    return cache / f"synthetic-{hashlib.sha256(key).hexdigest()[:8]}"


def ensure(root: Path, spec: SyntheticSpec) -> Path:
    """Make ``root/VOC2007`` unless it is there already, and return ``root``.

    Safe if several processes do it at once: one draws, the others wait. What is there is taken as
    it is, whatever ``spec`` says, and is always whole: the folder gets its name when complete.

    Raises:
        DataError: the folder cannot be written.
    """
    _make(root, spec, keep=True)
    return root


def write_tree(root: Path, spec: SyntheticSpec) -> None:
    """Write ``root/VOC2007`` in VOC's own layout; the bytes follow from ``spec`` alone.

    ``JPEGImages`` holds RGB JPEGs; ``SegmentationClass`` and ``SegmentationObject`` palette PNGs of
    uint8 labels (0..6) and instance ids (1..n), 255 void around every object; ``Annotations`` one
    XML an image with 1-based inclusive boxes in pixels; ``ImageSets/Segmentation`` the lists.

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
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{_YEAR}.lock"):
            if keep and final.is_dir():
                return
            if final.exists():
                raise DataError(f"{final} exists already and is not overwritten")
            for left in root.glob(f".{_YEAR}.*.tmp"):  # its maker is dead: the lock is ours
                shutil.rmtree(left)
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
        image, instances, objects = _draw(spec, index)
        labels = np.full(256, VOID, np.uint8)
        labels[: len(objects) + 1] = [0, *(label for label, _ in objects)]
        Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg", quality=92)
        for kind, array in (("Class", labels[instances]), ("Object", instances)):
            mask = Image.fromarray(array)
            mask.putpalette(flat_palette())
            mask.save(folder / f"Segmentation{kind}" / f"{name}.png")
        tree = _annotation(name, instances, objects, _void_radius(spec))
        tree.write(folder / "Annotations" / f"{name}.xml", encoding="utf-8")
    splits = {"train": ids[: spec.train], "val": ids[spec.train :], "trainval": ids}
    for split, members in splits.items():
        text = "".join(f"{name}\n" for name in members)
        (lists / f"{split}.txt").write_text(text, encoding="ascii", newline="\n")


def _annotation(
    name: str, instances: _Bytes, objects: list[tuple[int, bool]], radius: float
) -> ET.ElementTree[ET.Element]:
    height, width = instances.shape
    margin = int(radius)  # the outline runs in the middle of the void band

    def add(parent: ET.Element, **texts: object) -> None:
        for tag, text in texts.items():
            ET.SubElement(parent, tag).text = str(text)

    root = ET.Element("annotation")
    add(root, folder=_YEAR, filename=f"{name}.jpg")
    add(ET.SubElement(root, "source"), database="seglab synthetic", annotation="PASCAL VOC2007")
    add(ET.SubElement(root, "size"), width=width, height=height, depth=3)
    add(root, segmented=1)
    for instance, (label, truncated) in enumerate(objects, 1):
        rows, columns = np.nonzero(instances == instance)
        node = ET.SubElement(root, "object")
        add(node, name=SYNTHETIC_CLASSES[label], pose="Unspecified")
        add(node, truncated=int(truncated), difficult=0)
        add(
            ET.SubElement(node, "bndbox"),
            xmin=max(columns.min() + 1 - margin, 1),
            ymin=max(rows.min() + 1 - margin, 1),
            xmax=min(columns.max() + 1 + margin, width),
            ymax=min(rows.max() + 1 + margin, height),
        )
    ET.indent(root, "\t")
    return ET.ElementTree(root)


def _void_radius(spec: SyntheticSpec) -> float:
    """Half the width of the void band: VOC's 5 pixels, less where images are very small."""
    return min(2.5, min(spec.width, spec.height) / 40)


def _draw(spec: SyntheticSpec, index: int) -> tuple[_Bytes, _Bytes, list[tuple[int, bool]]]:
    """Draw image ``index``: RGB ``(H, W, 3)``, instance ids ``(H, W)``, (label, truncated) each.

    Its random stream follows from (seed, index), so more images change none of the others.
    """
    rng = np.random.default_rng([spec.seed, index])
    width, height = spec.width, spec.height
    sizes = [(width, height), (height, width), (width, height * 8 // 9)]
    width, height = sizes[rng.choice(3, p=[0.75, 0.15, 0.1])]
    image = _texture(rng, height, width, GROUND_VIVIDNESS)
    owner = np.zeros((height, width), np.uint8)  # the topmost object of a pixel
    band = np.zeros((height, width), bool)
    objects: list[tuple[int, bool]] = []
    areas: list[float] = []  # of whole outlines, whatever hides of them
    # Six images share out every class twice, so that splits are balanced at any length.
    block, place = divmod(index, 6)
    shuffle = np.random.default_rng([spec.seed, block, 1])
    counts = shuffle.permutation([1, 1, 1, 2, 3, 4])
    labels = np.concatenate([shuffle.permutation(6), shuffle.permutation(6)]) + 1
    first = int(counts[:place].sum())
    for label in labels[first : first + int(counts[place])].tolist():
        for _ in range(30):  # places; where too little of some object would be seen, try the next
            distance, area = _shape(rng, label, height, width)
            inside = distance < 0
            next_owner = np.where(inside, np.uint8(len(areas) + 1), owner)
            next_band = (band & ~inside) | (np.abs(distance) < _void_radius(spec))
            seen = np.bincount(next_owner[~next_band], minlength=len(areas) + 2)[1:]
            if np.all(seen > 0.3 * np.array([*areas, area])):
                break
        else:
            continue
        owner, band = next_owner, next_band
        edge = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
        objects.append((label, any(bool(side.any()) for side in edge)))
        areas.append(area)
        ground = image[inside].mean(0)
        for _ in range(8):
            texture = _texture(rng, height, width, OBJECT_VIVIDNESS)
            if np.linalg.norm(texture[inside].mean(0) - ground) > 70:
                break
        image *= 1 - 0.3 * np.exp(-np.maximum(distance, 0) / 3)[..., None]  # a soft shadow
        cover = np.clip(0.5 - distance, 0, 1)[..., None]
        image = image * (1 - cover) + texture * cover
    image += rng.normal(0, 3, image.shape)
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return pixels, np.where(band, np.uint8(VOID), owner), objects


def _shape(rng: np.random.Generator, label: int, height: int, width: int) -> tuple[_Floats, float]:
    """Place one object: signed distances ``(H, W)`` to its outline, negative inside; its area.

    Distances and area are in pixels. Sizes differ by class so that visible areas do not.
    """
    name = SYNTHETIC_CLASSES[label]
    growth = {"circle": 0.85, "square": 1.0, "ring": 1.05, "cross": 1.15, "star": 1.4}.get(
        name, 1.25
    )
    radius = min(height, width) * rng.uniform(0.2, 0.315) * growth
    x = np.arange(width) + 0.5 - width * rng.uniform(0.08, 0.92)
    y = np.arange(height)[:, None] + 0.5 - height * rng.uniform(0.08, 0.92)
    thin = rng.uniform(0.42, 0.52)  # a ring's hole, a star's inner corners, the arms of a cross
    turn = radius * np.exp(1j * rng.uniform(0, 2 * np.pi))
    if name == "circle":
        return np.hypot(x, y) - radius, np.pi * radius**2
    if name == "ring":
        middle, half = radius * (1 + thin) / 2, radius * (1 - thin) / 2
        return np.abs(np.hypot(x, y) - middle) - half, 4 * np.pi * middle * half
    if name == "cross":
        arm = thin * 0.75
        quarter = np.array([1 - 1j * arm, 1 + 1j * arm, arm + 1j * arm])
        corners = np.concatenate([quarter * 1j**k for k in range(4)])
    else:
        count = {"square": 4, "triangle": 3, "star": 10}[name]
        corners = np.exp(2j * np.pi * np.arange(count) / count)
        if name == "star":
            corners[1::2] *= thin
    corners = corners * turn
    point = x + 1j * y
    nearest, winding = np.full(point.shape, np.inf), np.zeros(point.shape)
    for start, end in zip(corners, np.roll(corners, -1), strict=True):
        edge, offset = end - start, point - start
        along = np.clip((offset * edge.conjugate()).real / abs(edge) ** 2, 0, 1)
        nearest = np.minimum(nearest, np.abs(offset - along * edge))
        winding += np.angle((end - point) * offset.conjugate() * -1)
    area = 0.5 * float((corners.conj() * np.roll(corners, -1)).imag.sum())
    return np.where(np.abs(winding) > np.pi, -nearest, nearest), area


def _texture(rng: np.random.Generator, height: int, width: int, vividness: float) -> _Floats:
    """Return ``(H, W, 3)`` colours, about 0..255: two tones, mixed by noise, stripes or a slope."""
    clouds = np.zeros((height, width))
    size = rng.uniform(20, 60)
    for octave in range(3):
        cell = size / 2**octave
        coarse = rng.normal(size=(int(height / cell) + 2, int(width / cell) + 2))
        smooth = Image.fromarray(coarse.astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        clouds += np.asarray(smooth, np.float64) * 0.5**octave
    angle, period, phase = rng.uniform([0, 6, 0], [2 * np.pi, 18, 2 * np.pi])
    across = np.arange(width) * np.cos(angle) + np.arange(height)[:, None] * np.sin(angle)
    kind = rng.integers(3)
    if kind == 0:
        field = 0.6 * clouds
    elif kind == 1:
        field = np.tanh(2.5 * np.sin(2 * np.pi * across / period + phase + 0.5 * clouds))
    else:
        field = 2.5 * (across - across.mean()) / np.hypot(height, width) + 0.25 * clouds
    tone = rng.uniform(35, 220, 3)
    colours = tone + field[..., None] * rng.normal(0, 1, 3) * rng.uniform(6, 22)
    grey: _Floats = colours.mean(2, keepdims=True)
    return grey + (colours - grey) * vividness
