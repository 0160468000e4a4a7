"""Layouts whose class maps and instance maps are picture files. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seglab.data.classes import LABELMAP, parse_value, read_labelmap
from seglab.data.layouts.base import Source, SplitFiles
from seglab.data.masks import (
    LabelTable,
    labelmap_table,
    read_instances,
    read_mask,
    stored_values,
    value_table,
)


def mask_table(
    folder: Path, mask_values: Mapping[str, str] | None, names: Sequence[str]
) -> LabelTable | None:
    """Return the meaning of mask values and colours: ``mask_values``, or a label map."""
    if mask_values is not None:
        return value_table(mask_values, names)
    labelmap = folder / LABELMAP
    return labelmap_table(read_labelmap(labelmap), names) if labelmap.is_file() else None


class MaskFiles(SplitFiles):
    """A split with a mask file per image and, with instances, an instance map file.

    Attributes:
        table: the meaning of mask values and colours; None: values are labels.
        masks: the class map of each id.
        instance_maps: the instance map of each id; empty without instances.
        mask_formats: allowed formats of masks, by Pillow's names.
    """

    per_sample = ("images", "masks", "instance_maps")
    mask_formats: tuple[str, ...] = ("PNG",)
    table: LabelTable | None
    masks: Sequence[Path]
    instance_maps: Sequence[Path]

    def maps(self, index: int) -> list[Source]:
        """Return the mask files of a sample."""
        return [self.masks[index], *([self.instance_maps[index]] if self.instances else [])]

    def read_class_map(self, source: Source) -> np.ndarray:
        """Decode a class map."""
        assert isinstance(source, Path)
        return read_mask(source, self.table, self.mask_formats)

    def read_instance_map(self, source: Source) -> np.ndarray:
        """Decode an instance map."""
        assert isinstance(source, Path)
        return read_instances(source, self.mask_formats)

    def read_values(self, index: int) -> dict[str, int]:
        """Count the pixels of the mask per value or colour."""
        return stored_values(self.masks[index], self.table, self.mask_formats)

    def label_of(self, value: str) -> int | None:
        """Return the label of a value or colour written as in ``data.mask_values``."""
        key = parse_value(value)
        if self.table is None:
            return key if isinstance(key, int) else None
        return self.table.label(key)

    def rule(self) -> object:
        """Return the meaning of mask values and colours."""
        return self.table and self.table.meaning()
