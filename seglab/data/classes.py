"""Class lists, VOC's palette, and void: the meaning of pixel values. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from seglab.data.text_files import quoted, read_lines
from seglab.errors import ConfigError, DataError

VOID = 255
"""The value of a mask pixel that belongs to no class: object borders, hard cases."""

LABELMAP = "labelmap.txt"
"""The file in which CVAT names the classes and their colours."""

CLASS_NAMES = "class_names.txt"
"""The file in which labelme names the classes in the order of the labels."""

VOID_NAMES = ("void", "ignored", "__ignore__")
"""Names that mean void rather than a class."""

MAX_CLASSES = 255
"""Class maps are uint8, and 255 is void."""

MAX_NAME_LENGTH = 200
"""Characters of a class name, which tables and pages show in full."""

MAX_LABELMAP_BYTES = 2**20
"""A label map of 255 classes takes a few thousand."""

VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""VOC's 20 object classes after the background, in the order of the mask values."""

SYNTHETIC_CLASSES = ("background", "circle", "square", "triangle", "ring", "star", "cross")
"""The classes of the built-in data set, in the order of the mask values."""

Colour = tuple[int, int, int]


def palette() -> list[Colour]:
    """Return VOC's 256 colours: entry ``i`` spreads the bits of ``i`` over red, green and blue.

    The rule is that of ``VOClabelcolormap.m`` in the PASCAL VOC development kit: bit ``3j + c``
    of the index becomes bit ``7 - j`` of channel ``c``. Entry 255 (void) is (224, 224, 192).
    """
    return [
        (
            sum((index >> 3 * j & 1) << 7 - j for j in range(8)),
            sum((index >> 3 * j + 1 & 1) << 7 - j for j in range(8)),
            sum((index >> 3 * j + 2 & 1) << 7 - j for j in range(8)),
        )
        for index in range(256)
    ]


def flat_palette() -> list[int]:
    """Return :func:`palette` as the 768 numbers that ``PIL.Image.putpalette`` takes."""
    return [channel for colour in palette() for channel in colour]


def read_labelmap(path: Path) -> dict[str, Colour]:
    """Read a ``labelmap.txt`` as CVAT exports it: ``name:r,g,b:parts:actions``, ``#`` comments.

    Returns the colour of each class, in the order of the file.

    Raises:
        DataError: not a text file of at most 1 MiB, a malformed line, too many classes, or a
            duplicate name or colour.
    """
    lines = read_lines(path, MAX_LABELMAP_BYTES, "a label map")
    colours: dict[str, Colour] = {}
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        name = name.strip()
        parts = rest.split(":")[0].split(",")
        try:
            red, green, blue = (int(part) for part in parts)
        except ValueError:
            raise DataError(
                f"{path}:{number}: {quoted(line)} is not 'name:red,green,blue:parts:actions'"
            ) from None
        colour = (red, green, blue)
        if not name or any(not 0 <= channel <= 255 for channel in colour):
            raise DataError(
                f"{path}:{number}: {quoted(line)} needs a name and three values in 0..255"
            )
        if name in colours or colour in colours.values():
            raise DataError(
                f"{path}:{number}: the name or colour of {quoted(line)} is listed twice"
            )
        if len(colours) == MAX_CLASSES + len(VOID_NAMES):
            raise DataError(f"{path}: more than {MAX_CLASSES} classes; 255 is void")
        colours[name] = colour
    if not colours:
        raise DataError(
            f"{path}: it contains no class; a line reads 'name:red,green,blue:parts:actions'"
        )
    return colours


def check_class_names(names: list[str] | tuple[str, ...], source: str) -> tuple[str, ...]:
    """Return ``names`` as a tuple; ``source`` names the key or file in the error.

    Raises:
        DataError: fewer than 2 or more than 255 names, or a name that is empty, longer than 200
            characters or a duplicate.
    """
    if not 2 <= len(names) <= MAX_CLASSES:
        raise DataError(
            f"{source}: {len(names)} classes; a class map holds 2 to {MAX_CLASSES} (255 is void)"
        )
    for index, name in enumerate(names):
        if not name.strip():
            raise DataError(f"{source}: class {index} has an empty name")
        if len(name) > MAX_NAME_LENGTH:
            raise DataError(
                f"{source}: class {index} has a name of {len(name):,} characters; at most "
                f"{MAX_NAME_LENGTH} are allowed"
            )
        if name in names[:index]:
            raise DataError(f"{source}: class {name!r} is listed twice")
    return tuple(names)


def parse_value(key: str) -> int | Colour:
    """Read a key of ``data.mask_values``: a grey or palette value, or a colour ``128/0/0``.

    Raises:
        ConfigError: neither one number nor three, or outside 0..255.
    """
    parts = key.split("/")
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal()]
    if len(numbers) != len(parts) or any(number > 255 for number in numbers):
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 3:
        return numbers[0], numbers[1], numbers[2]
    raise ConfigError(
        f"data.mask_values: {key!r} is not a mask value; give a number in 0..255, or a colour as "
        "red/green/blue, such as 128/0/0"
    )
