"""The base of all layouts: the samples of a split, decoded and checked. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from seglab.data.classes import VOID
from seglab.data.file_stats import BLOCK, StatDigests, file_stats
from seglab.data.files import IMAGE_FORMATS, Box, image_size, pixel_count, read_oriented
from seglab.data.merging import merge_classes
from seglab.data.paths import Paths
from seglab.data.pixels import RGB, PixelFormat
from seglab.data.prefetch import prefetch
from seglab.errors import DataError
from seglab.schema import DataConfig


@dataclass(frozen=True, slots=True)
class Pixels:
    """One decoded and checked sample, as arrays.

    Attributes:
        image: ``(H, W, C)`` uint8, upright, maybe read-only; RGB unless the data set has other
            channels.
        class_map: ``(H, W)`` uint8, class indices ``0..K-1`` and 255 for void.
        instance_map: ``(H, W)`` uint8, instance ids from 1, 0 background, 255 void; None unless
            the split was opened with ``instances=True``.
        counts: the number of pixels of each value 0..255 of ``class_map``.
        ambiguous: EXIF rotates the image, and its mask would fit the stored orientation too.
    """

    image: np.ndarray
    class_map: np.ndarray
    instance_map: np.ndarray | None
    counts: list[int]
    ambiguous: bool


Source = Path | bytes
"""What pixels come from: a file, or a part of one that has been read."""


@dataclass(frozen=True)
class Part:
    """One part of a data set divided into training and validation.

    Attributes:
        name: ``train`` or ``val``.
        ids: of its samples; None: of all samples to be divided.
        source: the file that lists them, for errors; None: they were computed.
    """

    name: str
    ids: Sequence[str] | None = None
    source: Path | None = None

    def of(self, read: Callable[[], list[str]], list_file: Path) -> list[str]:
        """Return the ids of this part.

        Args:
            read: returns all ids, not called for a computed part.
            list_file: contains them, for errors.

        Raises:
            DataError: the part has ids that ``read`` does not return.
        """
        if self.ids is None:
            return read()
        if self.source is not None and (odd := sorted({*self.ids} - {*read()})):
            raise DataError(f"{self.source}: lists {odd[0]!r}, which {list_file} does not have")
        return list(self.ids)


class SplitFiles(ABC):
    """The image, class map and optional instance map of each id of a split.

    Each layout is a subclass that finds the ids and the sources of their maps.

    Attributes:
        split: the split's name for display.
        folder: of the data set.
        image_folder: the folder that ids are relative to; equal ids in one folder are one image.
        list_file: the list of the ids, for errors.
        ids: the names of the samples.
        images: the file of each.
        names: the classes in the masks, in the order of their labels.
        classes: those that remain after ignoring and merging, in the order of the labels.
        instances: whether instance maps are read too.
        pixel_format: the pixel format of the images.
    """

    formats: tuple[str, ...] = IMAGE_FORMATS
    per_sample: tuple[str, ...] = ("images",)
    """The attributes with one entry per sample, beside ``ids``."""
    remedy: str = "data.mask_values can say what other values mean"
    """What an error of a label that is no class suggests."""
    stats: np.ndarray | None = None
    """``(N, 5 F)`` int64: what :func:`file_stats` returned for each sample when last read."""
    adopted: bool = False
    """The next :meth:`stat_keys` takes ``stats`` as they are: another split has just read them."""
    split: str
    folder: Path
    image_folder: Path
    list_file: Path
    ids: list[str]
    images: Sequence[Path]
    instances: bool

    def __init__(self, names: Sequence[str], config: DataConfig | None = None) -> None:
        """Set the classes in the order of the labels, then ignore and merge as in ``config``."""
        ignore, merge = (config.ignore_classes, config.merge_classes) if config else (None, None)
        self.pixel_format = PixelFormat.configured(config) if config else RGB
        self.names = tuple(names)
        self.classes, labels = merge_classes(names, ignore, merge)
        self.new_labels: np.ndarray | None = None
        if ignore or merge:
            self.new_labels = np.full(256, VOID, np.uint8)
            self.new_labels[: len(labels)] = labels

    @abstractmethod
    def maps(self, index: int) -> list[Source]:
        """Return the sources of the class map and, with instances, of the instance map."""

    @abstractmethod
    def instance_source(self, index: int) -> Source | None:
        """Return the source of an instance map, even if the split was opened without instances."""

    @abstractmethod
    def read_class_map(self, source: Source) -> np.ndarray:
        """Return labels ``(H, W)`` uint8, 255 for void; labels may be out of range."""

    @abstractmethod
    def read_instance_map(self, source: Source) -> np.ndarray:
        """Return instance ids ``(H, W)`` uint8, 0 for background and 255 for void."""

    @abstractmethod
    def rule(self) -> object:
        """Return the mapping from sources to labels, as plain data; None: the identity."""

    def meaning(self) -> object:
        """Return the mapping from sources to classes, as plain data; None: the identity."""
        if self.new_labels is None:
            return self.rule()
        return [self.rule(), self.names, self.new_labels.tolist()]

    def read_values(self, index: int) -> dict[str, int]:
        """Count the pixels of each stored value in the class map, with or without a meaning.

        Raises:
            DataError: the class map cannot be decoded.
        """
        counts = value_counts(self.read_class_map(self.maps(index)[0]))
        return {str(value): count for value, count in enumerate(counts) if count}

    def label_of(self, value: str) -> int | None:
        """Return the label of a stored value, or None."""
        return int(value)

    def class_of(self, value: str) -> str | None:
        """Return the class or void that a stored value means; None: neither."""
        label = self.label_of(value)
        if label is None or len(self.names) <= label < VOID:
            return None
        if label != VOID and self.new_labels is not None:
            label = int(self.new_labels[label])
        return "void" if label == VOID else self.classes[label]

    def boxes(self, index: int) -> tuple[Box, ...]:
        """Return the annotated objects of a sample; most layouts have none."""
        return ()

    def listings(self) -> list[Path]:
        """Return the files with the data that ``maps`` returns as bytes."""
        return []

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.ids)

    def files(self, index: int) -> list[Source]:
        """Return the sources of a sample: image, class map, instance map."""
        return [self.images[index], *self.maps(index)]

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of an upright image, from its header."""
        return image_size(self.images[index], self.formats)

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes of image and maps together."""
        return self.pixel_format.channels + (2 if self.instances else 1)

    def decoded_bytes(self, index: int) -> int:
        """Return the memory of a decoded sample in bytes, from its image's header.

        0 if the header is unreadable; decoding reports that.
        """
        try:
            return pixel_count(self.images[index], self.formats) * self.bytes_per_pixel
        except DataError:
            return 0

    def read_image(self, index: int) -> tuple[np.ndarray, int]:
        """Decode an image; return it upright, ``(H, W, C)`` uint8, and its EXIF orientation.

        Raises:
            DataError: names the file that cannot be read.
        """
        return read_oriented(self.images[index], self.pixel_format, self.formats)

    def read(self, index: int) -> Pixels:
        """Decode and check one sample.

        Raises:
            DataError: names the file that cannot be read or does not fit, and why.
        """
        image, orientation = self.read_image(index)
        class_source, *instance_source = self.maps(index)
        stored = self.read_class_map(class_source)
        self._check_size(class_source, stored, index, image, orientation)
        class_map, counts = self._classes_of(stored, index)
        instance_map = None
        if self.instances:
            instance_map = self.read_instance_map(instance_source[0])
            self._check_size(instance_source[0], instance_map, index, image, orientation)
            if class_map is not stored:
                ignored = (class_map == VOID) & (stored != VOID)
                instance_map = np.where(ignored, np.uint8(VOID), instance_map)
        ambiguous = orientation in (2, 3, 4) or (
            orientation > 4 and image.shape[0] == image.shape[1]
        )
        return Pixels(image, class_map, instance_map, counts, ambiguous)

    def read_classes(self, index: int) -> tuple[np.ndarray, list[int]]:
        """Decode and check the class map alone; return it and its pixel counts per value.

        Raises:
            DataError: see :meth:`read`.
        """
        return self._classes_of(self.read_class_map(self.maps(index)[0]), index)

    def stat_keys(self) -> tuple[str, str]:
        """Return two digests of the files' stats, without reading any file.

        The first covers classes, ids, and the size and modification time of every file. It changes
        if a file is edited or replaced, but not if the folder is moved or copied with its times.
        The second covers the inodes and their change times (ctime), which users cannot set. If it
        differs, files of equal size and time may have other content: modification times can be set,
        and files written within one clock tick share them.

        Raises:
            DataError: a file is missing.
        """
        digests = StatDigests(repr((self.classes, self.meaning(), *self.pixel_format.meaning())))
        if listings := [str(path) for path in self.listings()]:
            digests.add([], [listings], file_stats(listings))
        for start, columns, stats in self._stat_blocks():
            digests.add(self.ids[start : start + BLOCK], columns, stats)
        return digests.own.hexdigest(), digests.changes.hexdigest()

    def _stat_blocks(self) -> Iterator[tuple[int, list[list[str]], np.ndarray]]:
        """Yield the start of a block of samples, the paths, and the stats, read unless adopted."""
        known, blocks = self.stats if self.adopted else None, []
        self.adopted = False

        def read(number: int) -> tuple[list[list[str]], np.ndarray]:
            start = number * BLOCK
            columns = self.path_columns(start, min(start + BLOCK, len(self)))
            if known is not None:
                return columns, known[start : start + BLOCK]
            return columns, np.concatenate([file_stats(column) for column in columns], axis=1)

        count = -(-len(self) // BLOCK)
        reading = prefetch(read, count, threads=8) if known is None else map(read, range(count))
        for number, (columns, stats) in enumerate(reading):
            blocks.append(stats)
            yield number * BLOCK, columns, stats
        if known is None:
            self.stats = np.concatenate(blocks)

    def adopt(self, whole: SplitFiles) -> Self:
        """Take the files of these samples, and their stats, from a split that has all of them."""
        known = dict(zip(whole.ids, range(len(whole)), strict=True))
        places = [known[name] for name in self.ids]
        for name in self.per_sample:
            files = getattr(whole, name)
            taken = files.take(places, self.ids) if isinstance(files, Paths) else None
            setattr(self, name, taken or [files[place] for place in places] if files else ())
        if whole.stats is not None:
            self.stats, self.adopted = whole.stats[places], True
        return self

    def path_columns(self, start: int, end: int) -> list[list[str]]:
        """Return the paths of a range of samples as strings, a list per kind of file."""
        rows = [
            [str(source) for source in self.files(index) if isinstance(source, Path)]
            for index in range(start, end)
        ]
        return [list(column) for column in zip(*rows, strict=True)]

    def named(self, source: Source, index: int) -> str:
        """Return the name of a source for errors."""
        if isinstance(source, Path):
            return str(source)
        return f"{self.list_file}: {self.images[index].relative_to(self.image_folder)}"

    def _classes_of(self, stored: np.ndarray, index: int) -> tuple[np.ndarray, list[int]]:
        """Check stored labels; return the class map and its counts."""
        counts = value_counts(stored)
        wrong = [label for label in range(len(self.names), VOID) if counts[label]]
        if wrong:
            (row, column), size = np.argwhere(stored == wrong[0])[0], len(self.names)
            raise DataError(
                f"{self.named(self.maps(index)[0], index)}: label {wrong[0]} at row {row}, column "
                f"{column}; with {size} classes a label is 0..{size - 1} or {VOID}; "
                f"{self.remedy}"
            )
        if self.new_labels is None:
            return stored, counts
        class_map: np.ndarray = self.new_labels[stored]
        return class_map, value_counts(class_map)

    def _check_size(
        self, source: Source, pixels: np.ndarray, index: int, image: np.ndarray, orientation: int
    ) -> None:
        if pixels.shape == image.shape[:2]:
            return
        path, image_path = self.named(source, index), self.named(self.images[index], index)
        (height, width), (rows, columns) = image.shape[:2], pixels.shape
        if orientation > 4 and pixels.shape == (width, height):
            raise DataError(
                f"{path}: {columns}x{rows} pixels, as {image_path} is stored; its EXIF orientation "
                f"({orientation}) shows it with {width}x{height}, and masks must fit what is "
                "shown: turn the mask, or remove the EXIF orientation from the image"
            )
        raise DataError(f"{path}: {columns}x{rows} pixels, but {image_path} has {width}x{height}")


def value_counts(labels: np.ndarray) -> list[int]:
    """Count the pixels of ``(H, W)`` uint8 per value 0..255.

    Pillow's histogram takes half the time of ``np.bincount``.
    """
    height, width = labels.shape
    whole = np.ascontiguousarray(labels)
    return Image.frombuffer("L", (width, height), whole, "raw", "L", 0, 1).histogram()
