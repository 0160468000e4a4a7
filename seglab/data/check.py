"""Lists what is wrong with a data set, file by file. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seglab.data.classes import VOID
from seglab.data.decode import Progress, no_progress
from seglab.data.files import read_boxes
from seglab.data.identity import in_order
from seglab.data.layout import SplitFiles
from seglab.data.masks import read_mask
from seglab.errors import DataError


def problems(files: SplitFiles, progress: Progress = no_progress) -> Iterator[str]:
    """Yield every problem of ``files`` as one line that names the file.

    Images, class maps, and where they are there instance maps and annotations.
    """
    checks = in_order(lambda index: _check_sample(files, index), len(files))
    for lines in progress(checks, len(files), f"checking {files.split}"):
        yield from lines


def _check_sample(files: SplitFiles, index: int) -> list[str]:
    lines: list[str] = []
    class_map: np.ndarray | None = None
    try:
        class_map = files.read(index).class_map
    except DataError as error:
        lines.append(str(error))
    annotation = files.folder / "Annotations" / f"{files.ids[index]}.xml"
    if annotation.is_file():
        try:
            read_boxes(annotation)
        except DataError as error:
            lines.append(str(error))
    instances = files.folder / "SegmentationObject" / f"{files.ids[index]}.png"
    if instances.is_file():
        lines += _instance_problems(instances, class_map)
    return list(dict.fromkeys(lines))  # a sample opened with its instances has some twice


def _instance_problems(path: Path, class_map: np.ndarray | None) -> Iterator[str]:
    try:
        instance_map = read_mask(path)
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
