"""Where the classes of a data set come from. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seglab.data.classes import (
    CLASS_NAMES,
    LABELMAP,
    MAX_LABELMAP_BYTES,
    SYNTHETIC_CLASSES,
    VOC_CLASSES,
    VOID_NAMES,
    Colour,
    check_class_names,
    parse_value,
    read_labelmap,
)
from seglab.data.layouts.coco_listing import coco_classes
from seglab.data.text_files import read_lines
from seglab.errors import ConfigError, DataError


def check_mask_values(
    mask_values: Mapping[str, str], classes: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the classes of ``data.mask_values``: ``classes``, or its own names in their order.

    Raises:
        ConfigError: a key that is not a value, two keys for one value, a name that is not in
            ``classes``, or, without ``classes``, names that are not a class list.
    """
    seen: dict[int | Colour, str] = {}
    for key in mask_values:
        value = parse_value(key)
        if value in seen:
            raise ConfigError(f"data.mask_values: {seen[value]!r} and {key!r} are the same value")
        seen[value] = key
    names = [name for name in dict.fromkeys(mask_values.values()) if name not in VOID_NAMES]
    if classes is None:
        try:
            return check_class_names(names, "data.mask_values")
        except DataError as error:
            raise ConfigError(str(error)) from None
    for name in names:
        if name not in classes:
            raise ConfigError(
                f"data.mask_values: {name!r} is not in data.classes, which lists "
                f"{', '.join(classes)}; to ignore pixels, name them void"
            )
    return tuple(classes)


def class_names(
    given: list[str] | None,
    *,
    synthetic: bool,
    year: int | None,
    root: str | None,
    mask_values: Mapping[str, str] | None = None,
    coco: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the classes of a data set, in the order of the labels.

    ``given`` (the key ``data.classes``) wins; then the names of ``data.mask_values``, the classes
    of the built-in data set, VOC's, those of the COCO files ``coco`` in ``root``, and those of
    ``labelmap.txt`` (CVAT) or ``class_names.txt`` (labelme) in ``root``.

    Raises:
        ConfigError: nothing names the classes, or ``given`` is not a class list.
        DataError: ``labelmap.txt`` cannot be read.
    """
    if given is not None:
        try:
            given = list(check_class_names(given, "data.classes"))
        except DataError as error:
            raise ConfigError(str(error)) from None
    if mask_values is not None:
        return check_mask_values(mask_values, given)
    if given is not None:
        return tuple(given)
    if synthetic:
        return SYNTHETIC_CLASSES
    if year is not None:
        return VOC_CLASSES
    if root is None:
        raise ConfigError("data.root is not set: give data.root=DIR, the folder of the data set")
    if not Path(root).is_dir():
        raise ConfigError(f"data.root={root}: no such folder")
    if coco:
        return coco_classes([Path(root) / name for name in coco])
    labelmap, listed = Path(root) / LABELMAP, Path(root) / CLASS_NAMES
    if not labelmap.is_file() and listed.is_file():
        lines = read_lines(listed, MAX_LABELMAP_BYTES, "a list of classes")
        names = [line.strip() for line in lines if line.strip()]
        return check_class_names([name for name in names if name not in VOID_NAMES], str(listed))
    if not labelmap.is_file():
        raise ConfigError(
            "data.classes is not set: give data.classes=[background,…] in the order of the mask "
            f"values, data.mask_values={{0: background, …}}, or put a {LABELMAP} into {root}"
        )
    return check_class_names(
        tuple(name for name in read_labelmap(labelmap) if name not in VOID_NAMES), str(labelmap)
    )
