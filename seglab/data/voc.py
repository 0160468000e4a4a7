"""PASCAL VOC's layout on disk as samples: image, class map, instances."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seglab.data.classes import (
    LABELMAP,
    VOC_CLASSES,
    VOID,
    VOID_NAMES,
    Colour,
    check_class_names,
    palette,
    read_labelmap,
)
from seglab.data.files import Box, image_size, read_boxes, read_image, read_mask
from seglab.errors import ConfigError, DataError

YEARS = range(2007, 2013)
MAX_ID_BYTES = 200  # most file systems take 255, a suffix included
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and its truth.

    Attributes:
        id: the name in the list, which is the stem of the files' names.
        image: ``(3, H, W)`` uint8 RGB, at the image's original size. Not to be written to: it may
            be a view of memory-mapped pixels.
        class_map: ``(H, W)`` uint8, class indices ``0..K-1`` and 255 for void.
        instance_map: ``(H, W)`` uint8, instance ids from 1, 0 for background, 255 for void; None
            unless the data set was opened with ``instances=True``.
        boxes: the annotated objects; empty unless opened with ``instances=True``.
    """

    id: str
    image: Tensor
    class_map: Tensor
    instance_map: Tensor | None = None
    boxes: tuple[Box, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """The image's original height and width, in pixels."""
        return self.image.shape[-2], self.image.shape[-1]


class VOCSegmentation(Dataset[Sample]):
    """The segmentation part of a VOC year, or a data set of one's own in the same layout.

    Args:
        root: the folder that holds ``VOC2007/`` and its like; without ``year`` the folder that
            holds ``JPEGImages/`` itself.
        year: 2007 to 2012, or None for a data set of one's own.
        split: the name of a list in ``ImageSets/Segmentation``, or the path of a list file.
        classes: names in the order of the mask values; None means VOC's, or without a year those
            of ``labelmap.txt``.
        mask_dir: the folder of the class maps.
        instances: also read ``SegmentationObject/`` (required then) and ``Annotations/``.
        missing_ok: leave it to reading a sample to say that a file of it is missing.

    Raises:
        ConfigError: a root that does not exist, or an impossible year.
        DataError: a folder, list, image or mask is missing, an id stands twice, a list is empty.
    """

    def __init__(
        self,
        root: str | Path,
        year: int | None = None,
        split: str = "train",
        *,
        classes: Sequence[str] | None = None,
        mask_dir: str = "SegmentationClass",
        instances: bool = False,
        missing_ok: bool = False,
    ) -> None:
        self.folder = _data_folder(Path(root), year)
        labelmap = self.folder / LABELMAP
        self.colours = read_labelmap(labelmap) if year is None and labelmap.is_file() else None
        if classes is None and year is None and self.colours is None:
            raise DataError(f"{labelmap}: not found, and no class list was given")
        own = [name for name in self.colours or () if name not in VOID_NAMES]
        if classes is None:
            classes = VOC_CLASSES if year is not None else own
        self.classes = check_class_names(list(classes), "classes")
        self.split = split
        self.instances = instances
        self.missing_ok = missing_ok
        self.list_file = _find_list(self.folder, split)
        self.ids = read_ids(self.list_file)
        self.images = [self._find(self.folder / "JPEGImages", i, IMAGE_SUFFIXES) for i in self.ids]
        self.masks = [self._find(self.folder / mask_dir, i, (".png",)) for i in self.ids]
        self.instance_maps = (
            [self._find(self.folder / "SegmentationObject", i, (".png",)) for i in self.ids]
            if instances
            else []
        )

    def __len__(self) -> int:
        """Return the number of samples in the list."""
        return len(self.ids)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        """Decode and check one sample.

        Raises:
            DataError: names the file that cannot be read or does not fit, and why.
        """
        image = read_image(self.images[index])
        class_map = read_mask(self.masks[index], self._colour_table())
        self._check(index, image, class_map)
        instance_map: Tensor | None = None
        boxes: tuple[Box, ...] = ()
        if self.instances:
            pixels = read_mask(self.instance_maps[index], None)
            _check_size(self.instance_maps[index], pixels, self.images[index], image)
            instance_map = torch.from_numpy(pixels)
            boxes = self._boxes(index)
        return Sample(
            self.ids[index],
            torch.from_numpy(image).permute(2, 0, 1),
            torch.from_numpy(class_map),
            instance_map,
            boxes,
        )

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image from its header, without decoding it."""
        return image_size(self.images[index])

    def fingerprint(self) -> str:
        """Return a digest of what the samples are made of.

        It covers classes, ids, and the size and modification time of every file, so that an edited
        or replaced file is noticed, and a folder that was merely moved is not.
        """
        digest = hashlib.sha256(repr((self.classes, self.colours)).encode())
        for name, *files in zip(
            self.ids, self.images, self.masks, *([self.instance_maps] * self.instances), strict=True
        ):
            digest.update(name.encode())
            for file in files:
                stat = file.stat()
                digest.update(f"|{file.name}|{stat.st_size}|{stat.st_mtime_ns}".encode())
        return digest.hexdigest()

    def _find(self, folder: Path, name: str, suffixes: Sequence[str]) -> Path:
        for suffix in suffixes:
            path = folder / f"{name}{suffix}"
            if path.is_file():
                return path
        if self.missing_ok:
            return folder / f"{name}{suffixes[0]}"
        raise DataError(
            f"{folder / name}{suffixes[0]}: not found, but {self.list_file} lists {name!r}"
        )

    def _colour_table(self) -> dict[Colour, int] | None:
        """Return the class of each colour, for RGB masks; None where no label map says it."""
        if self.colours is None:
            return None
        table = {palette()[VOID]: VOID}
        for name, colour in self.colours.items():
            if name in self.classes:
                table[colour] = self.classes.index(name)
            elif name in VOID_NAMES:
                table[colour] = VOID
        return table

    def _boxes(self, index: int) -> tuple[Box, ...]:
        path = self.folder / "Annotations" / f"{self.ids[index]}.xml"
        return read_boxes(path) if path.is_file() else ()

    def _check(self, index: int, image: np.ndarray, class_map: np.ndarray) -> None:
        path = self.masks[index]
        _check_size(path, class_map, self.images[index], image)
        wrong = (class_map >= len(self.classes)) & (class_map != VOID)
        if wrong.any():
            label = class_map[wrong].min()
            row, column = np.argwhere(class_map == label)[0]
            raise DataError(
                f"{path}: label {label} at row {row}, column {column}; with "
                f"{len(self.classes)} classes a label is 0..{len(self.classes) - 1} or {VOID}"
            )


def read_ids(path: Path) -> list[str]:
    """Read a list of ids, one a line; stray spaces, blank lines and CRLF do not matter.

    Raises:
        DataError: an empty list, an id that stands twice or leads out of its folder.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of ids: {error}") from None
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise DataError(f"{path}: empty; it should name one image id a line")
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise DataError(f"{path}: id {name!r} stands twice")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise DataError(f"{path}: id {name!r} leads out of its folder")
        if len(name.encode()) > MAX_ID_BYTES:
            raise DataError(f"{path}: {name[:40]!r}… is too long for the name of a file")
        seen.add(name)
    return ids


def _data_folder(root: Path, year: int | None) -> Path:
    if not root.is_dir():
        raise ConfigError(f"data.root={root}: no such folder")
    if year is None:
        folder, inside = root, "data.root is the folder of the data set itself"
    elif year in YEARS:
        folder, inside = root / f"VOC{year}", f"data.root is the folder that holds VOC{year}/"
    else:
        raise ConfigError(f"year={year}: VOC's years are {YEARS[0]} to {YEARS[-1]}")
    for name in (".", "JPEGImages", "ImageSets/Segmentation"):
        if not (folder / name).is_dir():
            raise DataError(f"{folder / name}: no such folder; {inside}")
    return folder


def _find_list(folder: Path, split: str) -> Path:
    official = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if official.is_file():
        return official
    if Path(split).is_file():
        return Path(split)
    there = sorted(path.stem for path in official.parent.glob("*.txt"))
    raise DataError(f"{official}: no such list; there is {', '.join(there) or 'none'}")


def _check_size(path: Path, pixels: np.ndarray, image_path: Path, image: np.ndarray) -> None:
    if pixels.shape != image.shape[:2]:
        (height, width), (rows, columns) = image.shape[:2], pixels.shape
        raise DataError(f"{path}: {columns}x{rows} pixels, but {image_path} has {width}x{height}")
