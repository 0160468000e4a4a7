"""Reads a whole data set and lists what is wrong with it, file by file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seglab.data.classes import VOID
from seglab.data.files import read_boxes, read_mask
from seglab.data.store import Progress, no_progress
from seglab.data.voc import VOCSegmentation
from seglab.errors import DataError


def problems(dataset: VOCSegmentation, progress: Progress = no_progress) -> Iterator[str]:
    """Yield every problem of ``dataset`` as one line that names the file.

    Images, class maps, and where they are there instance maps and annotations.
    """
    for index in progress(range(len(dataset)), len(dataset), f"checking {dataset.split}"):
        class_map: np.ndarray | None = None
        found: list[str] = []
        try:
            class_map = dataset[index].class_map.numpy()
        except DataError as error:
            found.append(str(error))
        annotation = dataset.folder / "Annotations" / f"{dataset.ids[index]}.xml"
        if annotation.is_file():
            try:
                read_boxes(annotation)
            except DataError as error:
                found.append(str(error))
        instances = dataset.folder / "SegmentationObject" / f"{dataset.ids[index]}.png"
        if instances.is_file():
            found += _instance_problems(instances, class_map)
        yield from dict.fromkeys(found)  # a sample opened with its instances says some twice


def _instance_problems(path: Path, class_map: np.ndarray | None) -> Iterator[str]:
    try:
        instance_map = read_mask(path, None)
    except DataError as error:
        yield str(error)
        return
    if class_map is None:
        return
    if instance_map.shape != class_map.shape:
        yield f"{path}: {instance_map.shape[::-1]} pixels, but the class map has another size"
        return
    for instance in np.unique(instance_map):
        if instance in (0, VOID):
            continue
        under = np.bincount(class_map[instance_map == instance], minlength=256)
        under[VOID] = 0
        if (under > 0).sum() > 1:
            values = ", ".join(f"{value} ({under[value]} pixels)" for value in under.nonzero()[0])
            yield f"{path}: instance {instance} lies over several classes: {values}"
