"""PASCAL VOC's layout on disk: the files of a split, decoded and checked. Knows no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from seglab.data.classes import VOID
from seglab.data.files import image_size, read_oriented
from seglab.data.lists import SplitList, configured_root
from seglab.data.masks import read_mask
from seglab.data.pixels import RGB, PixelFormat
from seglab.errors import DataError
from seglab.schema import DataConfig

IMAGE_SUFFIXES = tuple(
    form(suffix)
    for form in (str.lower, str.upper)
    for suffix in (".jpg", ".jpeg", ".png", ".tif", ".tiff")
)


@dataclass(frozen=True, slots=True)
class Pixels:
    """One decoded and checked sample, as arrays.

    Attributes:
        image: ``(H, W, C)`` uint8, upright; RGB unless the data set has other channels.
        class_map: ``(H, W)`` uint8, class indices ``0..K-1`` and 255 for void.
        instance_map: ``(H, W)`` uint8, instance ids from 1, 0 background, 255 void; None unless
            the split was opened with ``instances=True``.
        counts: the number of pixels of each value 0..255 of ``class_map``.
        ambiguous: EXIF turns the image, and its mask would fit the stored one as well.
    """

    image: np.ndarray
    class_map: np.ndarray
    instance_map: np.ndarray | None
    counts: list[int]
    ambiguous: bool


class SplitFiles(SplitList):
    """The image, class map, and on demand instance map of each id of a split.

    Args:
        root: the folder that holds ``VOC2007/`` and its like; without ``year`` the folder that
            holds ``JPEGImages/`` itself.
        year: 2007 to 2012, or None for a data set of one's own.
        split: the name of a list in ``ImageSets/Segmentation``, or the path of a list file.
        classes: names in the order of the labels; None means those of ``mask_values``, VOC's, or
            without a year those of ``labelmap.txt``.
        mask_values: the class, or void, of each mask value (255) or colour (``"128/0/0"``);
            None means that mask values are labels, and colours those of ``labelmap.txt``.
        mask_dir: the folder of the class maps.
        instances: also read ``SegmentationObject/`` (required then).
        missing_ok: leave it to reading a sample to say that a file of it is missing.
        form: what the images are read as.

    Raises:
        ConfigError: a root that does not exist, an impossible year, unusable ``mask_values``.
        DataError: a folder, list, image or mask is missing, an id stands twice, a list is empty.
    """

    def __init__(
        self,
        root: str | Path,
        year: int | None = None,
        split: str = "train",
        *,
        classes: Sequence[str] | None = None,
        mask_values: Mapping[str, str] | Mapping[int, str] | None = None,
        mask_dir: str = "SegmentationClass",
        instances: bool = False,
        missing_ok: bool = False,
        form: PixelFormat = RGB,
    ) -> None:
        super().__init__(root, year, split, classes=classes, mask_values=mask_values)
        self.instances = instances
        self.missing_ok = missing_ok
        self.form = form
        self.images = [self._find(self.folder / "JPEGImages", i, IMAGE_SUFFIXES) for i in self.ids]
        self.masks = [self._find(self.folder / mask_dir, i, (".png",)) for i in self.ids]
        self.instance_maps = (
            [self._find(self.folder / "SegmentationObject", i, (".png",)) for i in self.ids]
            if instances
            else []
        )

    @classmethod
    def configured(
        cls, config: DataConfig, split: str, *, instances: bool = False, missing_ok: bool = False
    ) -> Self:
        """Open a split of the configured data set; the built-in one is made on first use.

        Raises:
            ConfigError: ``data.root`` is not set or does not exist.
            DataError: the data set cannot be used; says which file.
        """
        return cls(
            configured_root(config),
            config.year,
            split,
            classes=config.classes,
            mask_values=config.mask_values,
            mask_dir=config.mask_dir,
            instances=instances,
            missing_ok=missing_ok,
            form=PixelFormat.configured(config),
        )

    def files(self, index: int) -> list[Path]:
        """Return the files that a sample's pixels come from."""
        maps = [self.instance_maps[index]] if self.instances else []
        return [self.images[index], self.masks[index], *maps]

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image, as shown, from its header."""
        return image_size(self.images[index])

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes of image and maps together."""
        return self.form.channels + (2 if self.instances else 1)

    def decoded_bytes(self, index: int) -> int:
        """Return how much memory a decoded sample takes, from its image's header.

        0 where that cannot be read: decoding it reports that.
        """
        try:
            height, width = self.size(index)
        except DataError:
            return 0
        return height * width * self.bytes_per_pixel

    def read(self, index: int) -> Pixels:
        """Decode and check one sample.

        Raises:
            DataError: names the file that cannot be read or does not fit, and why.
        """
        path, mask = self.images[index], self.masks[index]
        image, orientation = read_oriented(path, self.form)
        class_map = read_mask(mask, self.table)
        _check_size(mask, class_map, path, image, orientation)
        counts = value_counts(class_map)
        self._check_labels(mask, class_map, counts)
        instance_map = None
        if self.instances:
            instance_map = read_mask(self.instance_maps[index])
            _check_size(self.instance_maps[index], instance_map, path, image, orientation)
        ambiguous = orientation in (2, 3, 4) or (
            orientation > 4 and image.shape[0] == image.shape[1]
        )
        return Pixels(image, class_map, instance_map, counts, ambiguous)

    def stat_keys(self) -> tuple[str, str]:
        """Return two digests that follow from the files' stats, without reading one.

        The first covers classes, ids, and the size and modification time of every file, so that an
        edited or replaced file is noticed, and a folder that was merely moved, or copied with its
        times, is not. The second covers which inodes the files are and when they last changed,
        which nobody can set: where it is another, files of the same sizes and times may hold
        something else. Times alone do not tell data sets apart that one clock tick saw written.

        Raises:
            DataError: a file that is gone.
        """
        stats = hashlib.sha256(
            repr((self.classes, self.table and self.table.meaning(), *self.form.meaning())).encode()
        )
        changes = hashlib.sha256()
        for index, name in enumerate(self.ids):
            stats.update(name.encode())
            for file in self.files(index):
                try:
                    stat = file.stat()
                except OSError as error:
                    raise DataError(f"{file}: {error.strerror or error}") from None
                stats.update(f"|{file.name}|{stat.st_size}|{stat.st_mtime_ns}".encode())
                changes.update(f"|{stat.st_dev}|{stat.st_ino}|{stat.st_ctime_ns}".encode())
        return stats.hexdigest(), changes.hexdigest()

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

    def _check_labels(self, path: Path, class_map: np.ndarray, counts: Sequence[int]) -> None:
        wrong = [label for label in range(len(self.classes), VOID) if counts[label]]
        if wrong:
            row, column = np.argwhere(class_map == wrong[0])[0]
            raise DataError(
                f"{path}: label {wrong[0]} at row {row}, column {column}; with "
                f"{len(self.classes)} classes a label is 0..{len(self.classes) - 1} or {VOID}; "
                "data.mask_values can say what other values mean"
            )


split_files = SplitFiles.configured


def value_counts(labels: np.ndarray) -> list[int]:
    """Return how many pixels of ``(H, W)`` uint8 have each value 0..255.

    Pillow's histogram takes half the time of ``np.bincount``.
    """
    height, width = labels.shape
    whole = np.ascontiguousarray(labels)
    return Image.frombuffer("L", (width, height), whole, "raw", "L", 0, 1).histogram()


def _check_size(
    path: Path, pixels: np.ndarray, image_path: Path, image: np.ndarray, orientation: int
) -> None:
    if pixels.shape == image.shape[:2]:
        return
    (height, width), (rows, columns) = image.shape[:2], pixels.shape
    if orientation > 4 and pixels.shape == (width, height):
        raise DataError(
            f"{path}: {columns}x{rows} pixels, as {image_path} is stored; its EXIF orientation "
            f"({orientation}) shows it with {width}x{height}, and masks lie on what is shown: "
            "turn the mask, or remove the EXIF orientation from the image"
        )
    raise DataError(f"{path}: {columns}x{rows} pixels, but {image_path} has {width}x{height}")
