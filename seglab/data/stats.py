"""Statistics of a data set, even a faulty one: sizes, pixels, objects, values. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seglab.data.classes import VOID
from seglab.data.layouts.base import SplitFiles
from seglab.data.prefetch import Progress, no_progress, prefetch
from seglab.data.store.digests import digest_files
from seglab.data.weights import class_weights
from seglab.errors import DataError

POWER = 0.5
"""Of the proposed class weights; the default of ``loss.class_weights_power``."""


@dataclass(frozen=True)
class SampleStats:
    """Statistics of one sample.

    Attributes:
        size: height and width of the upright image; zeros if it is unreadable.
        values: pixels of each value in the mask.
        pixels: ``(K,)`` int64, pixels of each class.
        objects: ``(K,)`` int64, objects of each class; None without a usable instance map.
        digest: of the image file; empty if it is unreadable.
        problems: unreadable files, and values without a class.
    """

    size: tuple[int, int]
    values: dict[str, int]
    pixels: np.ndarray
    objects: np.ndarray | None
    digest: str
    problems: list[str]


@dataclass(frozen=True)
class SplitStats:
    """Statistics of a split; arrays have a row per sample.

    Attributes:
        files: the split.
        samples: the statistics of each.
    """

    files: SplitFiles
    samples: list[SampleStats]

    @cached_property
    def pixels(self) -> np.ndarray:
        """``(N, K)`` int64, pixels of each class."""
        return np.stack([sample.pixels for sample in self.samples])

    @cached_property
    def objects(self) -> np.ndarray:
        """``(N, K)`` int64, objects of each class; 0 if unknown."""
        nothing = np.zeros(len(self.files.classes), np.int64)
        known = (sample.objects for sample in self.samples)
        return np.stack([nothing if one is None else one for one in known])

    @property
    def has_objects(self) -> bool:
        """Whether any sample has an instance map."""
        return any(sample.objects is not None for sample in self.samples)

    @property
    def sizes(self) -> Counter[str]:
        """The number of images of each size, as WIDTHxHEIGHT."""
        return Counter(f"{width}x{height}" for height, width in (s.size for s in self.samples))

    @property
    def problems(self) -> list[str]:
        """Unreadable files, and values without a class."""
        return [line for sample in self.samples for line in sample.problems]

    def values(self) -> list[tuple[str, str | None, int, int]]:
        """Return each value in the masks with its class, its pixels, and the images with it."""
        pixels: Counter[str] = Counter()
        images: Counter[str] = Counter()
        for sample in self.samples:
            pixels.update(sample.values)
            images.update(sample.values.keys())
        order = sorted(pixels, key=lambda value: [int(part) for part in value.split("/")])
        return [
            (value, self.files.class_of(value), pixels[value], images[value]) for value in order
        ]

    @property
    def crowds(self) -> np.ndarray:
        """``(N,)``: the number of objects or, without instance maps, of classes."""
        crowds: np.ndarray = (self.objects if self.has_objects else self.pixels > 0).sum(1)
        return crowds

    @property
    def foreground(self) -> np.ndarray:
        """``(N,)``: the share of valid pixels not of the first class; NaN without valid pixels."""
        pixels = self.pixels
        with np.errstate(invalid="ignore"):
            share: np.ndarray = pixels[:, 1:].sum(1) / pixels.sum(1)
        return share

    @property
    def oddness(self) -> np.ndarray:
        """``(N,)``: divergence of a sample's class shares from the split's, in bits.

        The Kullback-Leibler divergence; NaN for a sample without valid pixels.
        """
        pixels = self.pixels
        with np.errstate(divide="ignore", invalid="ignore"):
            own, all_ = pixels / pixels.sum(1, keepdims=True), pixels.sum(0) / pixels.sum()
            parts = np.where(own > 0, own * np.log2(own / all_), own)
        total: np.ndarray = parts.sum(1)
        return total

    @property
    def weights(self) -> list[float]:
        """Class weights as computed by ``loss.class_weights=auto`` from a training split."""
        return class_weights(self.pixels.sum(0).tolist(), POWER)


def read_stats(files: SplitFiles, progress: Progress = no_progress) -> SplitStats:
    """Read the masks of a split, and the headers and bytes of its images."""
    reading = prefetch(lambda index: _sample(files, index), len(files))
    return SplitStats(files, [*progress(reading, len(files), f"reading {files.split}")])


def equal_images(splits: Sequence[SplitStats]) -> list[tuple[str, str]]:
    """Return pairs of images in different splits with equal files."""
    first: dict[str, tuple[SplitStats, str]] = {}
    pairs = []
    for split in splits:
        for name, sample in zip(split.files.ids, split.samples, strict=True):
            other, other_name = first.setdefault(sample.digest or name, (split, name))
            if other is not split and sample.digest:
                pairs.append((f"{other.files.split}: {other_name}", f"{split.files.split}: {name}"))
    return pairs


def _sample(files: SplitFiles, index: int) -> SampleStats:
    classes = len(files.classes)
    size, digest, objects = (0, 0), "", None
    values: dict[str, int] = {}
    pixels = np.zeros(classes, np.int64)
    problems: list[str] = []
    try:
        size, digest = files.size(index), digest_files(files, index)[0]
    except DataError as error:
        problems.append(str(error))
    try:
        values = files.read_values(index)
        names = {value: files.class_of(value) for value in values}
        for value, name in names.items():
            if name in files.classes:
                pixels[files.classes.index(name)] += values[value]
        if unnamed := [value for value, name in names.items() if name is None]:
            path, more = files.named(files.maps(index)[0], index), ", …" if len(unnamed) > 5 else ""
            problems.append(f"{path}: {', '.join(unnamed[:5])}{more} fits no class")
        elif (source := files.instance_source(index)) is not None:
            instance_map, class_map = files.read_instance_map(source), files.read_classes(index)[0]
            if instance_map.shape == class_map.shape:
                objects = _objects(class_map, instance_map)[:classes]
    except DataError as error:
        problems.append(str(error))
    return SampleStats(size, values, pixels, objects, digest, list(dict.fromkeys(problems)))


def _objects(class_map: np.ndarray, instance_map: np.ndarray) -> np.ndarray:
    """Count the objects per label ``(256,)``; an object has the label of most of its pixels.

    As in :func:`seglab.data.instances.find_instances`: void pixels are ignored, and mostly
    background is not an object.
    """
    ids = np.where(class_map == VOID, 0, instance_map).astype(np.int64)
    pairs = np.bincount((ids * 256 + class_map).ravel(), minlength=256 * 256).reshape(256, 256)
    labels = pairs.argmax(1)
    is_object = (pairs.max(1) > 0) & (labels > 0)
    is_object[[0, VOID]] = False
    return np.bincount(labels[is_object], minlength=256)
