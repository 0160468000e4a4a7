"""One file at a time: decode a picture, a mask or an annotation, or say what is wrong with it."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from PIL import Image, UnidentifiedImageError

from seglab.data.classes import Colour
from seglab.errors import DataError

MAX_PIXELS = 89_478_485
"""Pictures with more pixels are refused before they are decoded (Pillow's own warning bound)."""

IMAGE_FORMATS = ("JPEG", "PNG")
"""What a picture may be, whatever its name; Pillow would also run Ghostscript on an EPS file."""


_DECODER_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,  # Pillow's PNG reader, for a broken chunk
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
)
"""What Pillow's readers raise for a damaged file."""


@dataclass(frozen=True, slots=True)
class Box:
    """An annotated object: class name, 0-based half-open pixel corners, VOC's flags."""

    name: str
    x0: float
    y0: float
    x1: float
    y1: float
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False
    pose: str = "Unspecified"


@contextmanager
def _open(
    path: Path, formats: tuple[str, ...] = IMAGE_FORMATS, *, checksums: bool = True
) -> Iterator[Image.Image]:
    """Open a picture; whatever a decoder throws becomes a DataError that names the file.

    Pillow does not look at the checksums of a PNG's pixels when it decodes them, so that a flipped
    bit may give other pixels; with ``checksums`` they are verified first.
    """
    try:
        with warnings.catch_warnings():
            # A picture over the bound is refused below, in our own words.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=formats)
        with picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(
                    f"{path}: {picture.width}x{picture.height} pixels; "
                    f"more than {MAX_PIXELS:,} are refused"
                )
            if checksums and picture.format == "PNG":
                with Image.open(path, formats=formats) as whole:
                    whole.verify()
            yield picture
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: cannot be decoded: not a {' or '.join(formats)} file") from None
    except _DECODER_ERRORS as error:
        reason = " ".join(str(error).replace(str(path), "").split()) or type(error).__name__
        raise DataError(f"{path}: cannot be decoded: {reason}") from None


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) in pixels from the file's header.

    Raises:
        DataError: the file is no picture, or too large.
    """
    with _open(path, checksums=False) as picture:
        return picture.height, picture.width


def read_image(path: Path) -> np.ndarray:
    """Decode a picture to ``(H, W, 3)`` uint8 RGB.

    The pixels as they are stored: a mask is drawn on those, whatever EXIF says of the camera.

    Raises:
        DataError: the file is missing, damaged, no picture, too large, or of 16 bits a pixel.
    """
    with _open(path) as picture:
        if picture.mode[0] in "IF":  # Pillow would cut them off at 255
            raise DataError(f"{path}: mode {picture.mode}; an image has 8 bits a channel")
        if "transparency" in picture.info:
            return np.array(picture.convert("RGBA").convert("RGB"))  # without it, Pillow warns
        return np.array(picture.convert("RGB"))


def read_mask(path: Path, colours: Mapping[Colour, int] | None) -> np.ndarray:
    """Decode a mask to ``(H, W)`` uint8 labels.

    A palette or greyscale PNG holds the labels themselves; an RGB one is read through ``colours``,
    the label of each colour.

    Raises:
        DataError: damaged, an RGB mask without ``colours``, an unknown colour, another mode.
    """
    with _open(path, ("PNG",)) as picture:
        if picture.mode == "L" and getattr(picture, "tile")[0].args != "L":  # noqa: B009
            raise DataError(
                f"{path}: greyscale of less than 8 bits, which a decoder stretches to 0..255; "
                "a mask is an 8-bit palette or greyscale PNG"
            )
        if picture.mode in ("P", "L"):
            return np.array(picture)
        if picture.mode not in ("RGB", "RGBA"):
            raise DataError(
                f"{path}: mode {picture.mode}; a mask is an 8-bit palette or greyscale PNG"
            )
        if colours is None:
            raise DataError(
                f"{path}: an {picture.mode} mask; it should be a palette PNG whose pixels are "
                "class indices, or a labelmap.txt should say which colour is which class"
            )
        return _labels_of_colours(path, np.array(picture.convert("RGB")), colours)


def _labels_of_colours(path: Path, rgb: np.ndarray, colours: Mapping[Colour, int]) -> np.ndarray:
    packed = rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    values, inverse = np.unique(packed, return_inverse=True)
    table = {(r << 16) + (g << 8) + b: label for (r, g, b), label in colours.items()}
    labels = np.empty(len(values), dtype=np.uint8)
    for index, value in enumerate(values.tolist()):
        if value not in table:
            row, column = np.argwhere(packed == value)[0]
            colour = (value >> 16, value >> 8 & 255, value & 255)
            raise DataError(
                f"{path}: colour {colour} at row {row}, column {column} belongs to no class; "
                "labelmap.txt and data.classes should name it"
            )
        labels[index] = table[value]
    return labels[inverse].reshape(packed.shape)


def read_boxes(path: Path) -> tuple[Box, ...]:
    """Read the objects of a VOC annotation; its corners are 1-based and inclusive.

    Raises:
        DataError: malformed XML, entity declarations, or an object without name or corners.
    """
    try:
        root = parse(path).getroot()
    except (ParseError, DefusedXmlException, ValueError, LookupError, OSError) as error:
        raise DataError(f"{path}: not a well-formed annotation: {error}") from None
    return tuple(_box(path, item) for item in root.iterfind("object"))


def _box(path: Path, item: Element) -> Box:
    def text(tag: str, default: str | None = None) -> str:
        value = item.findtext(tag, default)
        if value is None:
            raise DataError(f"{path}: an object without <{tag.rsplit('/', 1)[-1]}>")
        return value.strip()

    def number(tag: str) -> float:
        try:
            value = float(text(tag))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{path}: <{tag}> is {text(tag)!r}, not a number")
        return value

    return Box(
        text("name"),
        number("bndbox/xmin") - 1,
        number("bndbox/ymin") - 1,
        number("bndbox/xmax"),
        number("bndbox/ymax"),
        difficult=text("difficult", "0") == "1",
        truncated=text("truncated", "0") == "1",
        occluded=text("occluded", "0") == "1",
        pose=text("pose", "Unspecified"),
    )
