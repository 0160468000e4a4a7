"""Mask files: the meaning of their values and colours, and decoding to labels. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ImageFile

from seglab.data.classes import (
    LABELMAP,
    VOID,
    VOID_NAMES,
    Colour,
    palette,
    parse_value,
)
from seglab.data.files import open_picture, turn_upright
from seglab.errors import DataError

MASK_VALUES = "data.mask_values"

MAX_COLOURS = 10_000
"""In a mask; each is counted by name. Smoothed borders make some hundreds."""

BLOCK_PIXELS = 2**20
"""How many pixels of a colour mask are looked up at once: it takes some thirty bytes for each."""


@dataclass(frozen=True)
class LabelTable:
    """The meaning of the pixels of a mask file.

    Attributes:
        values: the label of each grey or palette value. None: values are labels or, if the table
            has only colours, are looked up by the colour that they display.
        colours: the label of each RGB colour.
        source: the key or file that defines the table, for errors.
    """

    values: Mapping[int, int] | None
    colours: Mapping[Colour, int]
    source: str

    @property
    def plain(self) -> bool:
        """Whether grey and palette values are the labels."""
        return self.values is None and self.source != MASK_VALUES

    def label(self, value: int | Colour) -> int | None:
        """Return the label of a grey or palette value, or of a colour, or None."""
        if isinstance(value, tuple):
            return self.colours.get(value)
        return value if self.values is None else self.values.get(value)

    def meaning(self) -> list[object]:
        """Return values and colours with their labels, as sorted plain data."""
        values = None if self.values is None else sorted(self.values.items())
        return [self.plain, values, sorted(self.colours.items())]


def labelmap_table(colours: Mapping[str, Colour], classes: Sequence[str]) -> LabelTable:
    """Return the table of a label map: colours for RGB masks, palette values as labels."""
    table = {palette()[VOID]: VOID}
    for name, colour in colours.items():
        if name in classes:
            table[colour] = classes.index(name)
        elif name in VOID_NAMES:
            table[colour] = VOID
    return LabelTable(None, table, f"{LABELMAP} and data.classes")


def value_table(mask_values: Mapping[str, str], classes: Sequence[str]) -> LabelTable:
    """Return the table of ``data.mask_values``, whose names are classes or void.

    A grey value also matches that grey in an RGB mask.

    Raises:
        ConfigError: a key that is neither a value nor a colour.
    """
    labels = {
        parse_value(value): VOID if name in VOID_NAMES else classes.index(name)
        for value, name in mask_values.items()
    }
    values = {value: label for value, label in labels.items() if isinstance(value, int)}
    greys: dict[Colour, int] = {(value, value, value): label for value, label in values.items()}
    colours = {value: label for value, label in labels.items() if not isinstance(value, int)}
    return LabelTable(values or None, greys | colours, MASK_VALUES)


def read_mask(
    path: Path, table: LabelTable | None = None, formats: tuple[str, ...] = ("PNG",)
) -> np.ndarray:
    """Decode a mask to ``(H, W)`` uint8 labels, upright by its own EXIF orientation.

    Without a table, a palette or greyscale mask holds the labels themselves.

    Raises:
        DataError: damaged, an RGB mask without colours, an unlisted value or colour, or an
            unsupported mode.
    """
    with _open_mask(path, formats) as picture:
        if picture.mode in ("P", "L"):
            if table is None or table.plain:
                return np.array(picture)
            if table.values is not None:
                return _labels_of_values(path, np.array(picture), table.values)
        if table is None:
            raise DataError(
                f"{path}: an {picture.mode} mask; it should be a palette PNG whose pixels are "
                f"class indices, or a {LABELMAP} or {MASK_VALUES} should say which colour is "
                "which class"
            )
        return _labels_of_colours(path, np.array(picture.convert("RGB")), table)


def read_instances(path: Path, formats: tuple[str, ...] = ("PNG",)) -> np.ndarray:
    """Decode an instance map to ``(H, W)`` uint8 ids, 0 for background and 255 for void.

    A colour means its index in VOC's palette, whose rule extends to every colour. If an index
    exceeds 255, ids are numbered from 1 in the order of the indices.

    Raises:
        DataError: damaged, or an unsupported mode.
        TooManyObjectsError: more than 254 objects.
    """
    with _open_mask(path, formats) as picture:
        if picture.mode in ("P", "L"):
            return np.array(picture)
        rgb = np.array(picture.convert("RGB"))
    ids = np.zeros(rgb.shape[:2], dtype=np.int32)
    for channel in range(3):
        for place in range(8):
            ids |= (rgb[..., channel].astype(np.int32) >> 7 - place & 1) << 3 * place + channel
    objects = np.setdiff1d(ids, (0, VOID))
    if len(objects) >= VOID:
        raise too_many_objects(str(path), len(objects))
    if len(objects) and objects[-1] > VOID:
        ids = np.where(ids == VOID, VOID, np.searchsorted(objects, ids) + (ids > 0))
    return ids.astype(np.uint8)


class TooManyObjectsError(DataError):
    """An image has more objects than an instance map can hold; its class map is usable."""


def too_many_objects(name: str, objects: int) -> TooManyObjectsError:
    """Return the error for a file with so many objects."""
    most = VOID - 1
    return TooManyObjectsError(
        f"{name}: {objects} objects; an instance map holds ids 1..{most}, so at most {most}"
    )


def stored_values(
    path: Path, table: LabelTable | None = None, formats: tuple[str, ...] = ("PNG",)
) -> dict[str, int]:
    """Count the pixels of a mask per value or colour, written as in mask_values.

    Raises:
        DataError: damaged, or an unsupported mode.
    """
    with _open_mask(path, formats) as picture:
        if picture.mode in ("P", "L") and (table is None or table.plain or table.values):
            counts = np.bincount(np.array(picture).ravel())
            return {str(value): int(counts[value]) for value in counts.nonzero()[0]}
        packed = np.array(picture.convert("RGB")).astype(np.int32) @ (1 << 16, 1 << 8, 1)
    colours, pixels = np.unique(packed, return_counts=True)
    if len(colours) > MAX_COLOURS:
        raise DataError(f"{path}: {len(colours):,} colours; is this a mask, or a photograph?")
    return {
        f"{colour >> 16}/{colour >> 8 & 255}/{colour & 255}": count
        for colour, count in zip(colours.tolist(), pixels.tolist(), strict=True)
    }


@contextmanager
def _open_mask(path: Path, formats: tuple[str, ...]) -> Iterator[ImageFile.ImageFile]:
    """Open a mask of 8 bits per pixel or of colours, upright."""
    with open_picture(path, formats) as picture:
        arguments = getattr(picture, "tile")[0].args  # noqa: B009
        stored = arguments[0] if isinstance(arguments, tuple) else arguments
        if picture.mode == "L" and stored in ("L;2", "L;4"):
            raise DataError(
                f"{path}: greyscale of less than 8 bits, which a decoder stretches to 0..255; "
                "a mask is an 8-bit palette or greyscale PNG"
            )
        if picture.mode not in ("P", "L", "RGB", "RGBA"):
            raise DataError(
                f"{path}: mode {picture.mode}; a mask is an 8-bit palette or greyscale PNG"
            )
        turn_upright(picture)
        yield picture


def _labels_of_values(path: Path, pixels: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
    listed = np.zeros(256, dtype=bool)
    listed[list(values)] = True
    if not listed[pixels].all():
        row, column = np.argwhere(~listed[pixels])[0]
        raise DataError(
            f"{path}: value {pixels[row, column]} at row {row}, column {column} is not listed in "
            f"{MASK_VALUES}; give it a class, or void"
        )
    labels = np.zeros(256, dtype=np.uint8)
    labels[list(values)] = list(values.values())
    mapped: np.ndarray = labels[pixels]
    return mapped


def _labels_of_colours(path: Path, rgb: np.ndarray, table: LabelTable) -> np.ndarray:
    labels_by_colour = {
        (r << 16) + (g << 8) + b: label for (r, g, b), label in table.colours.items()
    }
    labels = np.empty(rgb.shape[:2], dtype=np.uint8)
    rows = max(1, BLOCK_PIXELS // rgb.shape[1])
    for top in range(0, rgb.shape[0], rows):
        block = rgb[top : top + rows].astype(np.int32)
        packed = block @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
        values, inverse = np.unique(packed, return_inverse=True)
        for value in values.tolist():
            if value not in labels_by_colour:
                row, column = np.argwhere(packed == value)[0]
                colour = (value >> 16, value >> 8 & 255, value & 255)
                raise DataError(
                    f"{path}: colour {colour} at row {top + row}, column {column} belongs to no "
                    f"class; {table.source} should name it{_written(colour, table)}"
                )
        meaning = np.array([labels_by_colour[value] for value in values.tolist()], dtype=np.uint8)
        labels[top : top + rows] = meaning[inverse].reshape(packed.shape)
    return labels


def _written(colour: Colour, table: LabelTable) -> str:
    return f" as {'/'.join(map(str, colour))}" if table.source == MASK_VALUES else ""
