"""Decodes a single picture or annotation, or reports what is wrong with it."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from seglab.data.classes import MAX_NAME_LENGTH
from seglab.data.pixels import PAGES, RGB, PixelFormat, check_whole, to_pixels
from seglab.data.text_files import check_regular, read_bytes
from seglab.errors import DataError

MAX_PIXELS = 89_478_485
"""Pictures with more pixels are refused before they are decoded (Pillow's own warning bound)."""

MAX_FILE_BYTES = 2**30
"""Twice what the largest picture takes without compression; a sparse file costs nobody anything."""

MAX_SCANS = 100
"""Scans of a progressive JPEG, each of which takes as long to decode; encoders write about ten."""

MAX_ANNOTATION_BYTES = 16 * 2**20
"""An object takes a few hundred."""

ORIENTATION = 0x0112
"""The EXIF tag of a picture's orientation (EXIF 2.32, section 4.6.4)."""

IMAGE_FORMATS = ("JPEG", "PNG", "TIFF")
"""What a picture may be, whatever its name; Pillow would also run Ghostscript on an EPS file."""

NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
"""What Pillow knows without reading pixels itself."""


@cache
def all_formats() -> tuple[str, ...]:
    """Return every format that Pillow decodes itself: not EPS, for which it runs Ghostscript."""
    Image.init()
    return tuple(sorted({*Image.OPEN} - {*NO_PICTURES}))


@cache
def all_suffixes() -> frozenset[str]:
    """Return the suffixes of files of :func:`all_formats`, in lower case, with their dots."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in all_formats())


_DECODER_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,  # from Pillow's PNG reader, for a broken chunk
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
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
def _without_warnings() -> Iterator[None]:
    """Silence Pillow's warnings: too many pixels are refused here, odd EXIF is ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        yield


@contextmanager
def open_picture(
    path: Path, formats: tuple[str, ...] = IMAGE_FORMATS, *, checksums: bool = True
) -> Iterator[ImageFile.ImageFile]:
    """Open a picture; any decoder error becomes a DataError that names the file.

    Pillow does not verify the checksums of a PNG's pixels, so a flipped bit may change pixels
    silently; with ``checksums`` they are verified first.
    """
    try:
        check_regular(path)
        with _without_warnings():
            picture = Image.open(path, formats=formats)
        with picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if picture.info.get("progressive") and _scans(path) > MAX_SCANS:
                raise ValueError(f"more than {MAX_SCANS} scans")
            if checksums and picture.format == "PNG":
                with Image.open(path, formats=formats) as whole:
                    whole.verify()
            yield picture
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path}: more than {MAX_PIXELS:,} pixels are refused") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: cannot be decoded: {_unidentified(path, formats)}") from None
    except _DECODER_ERRORS as error:
        reason = " ".join(str(error).replace(str(path), "").split()) or type(error).__name__
        raise DataError(f"{path}: cannot be decoded: {reason}") from None


def _unidentified(path: Path, formats: tuple[str, ...]) -> str:
    """Return why Pillow cannot identify a file."""
    with path.open("rb") as file:
        if "TIFF" in formats and file.read(4) in (b"II*\0", b"MM\0*"):
            return f"a TIFF whose channels Pillow cannot read: {PAGES}"
    if len(formats) > 3:
        return f"not a {'' if 'JPEG' in formats else 'lossless '}picture file"
    return f"not a {', '.join(formats[:-1])}{' or ' * (len(formats) > 1)}{formats[-1]} file"


def _scans(path: Path) -> int:
    """Count the start-of-scan markers of a JPEG (ITU T.81, table B.1)."""
    return path.read_bytes().count(b"\xff\xda") if path.stat().st_size <= MAX_FILE_BYTES else 0


def orientation(picture: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation of a picture, 1 to 8.

    1 (as stored) if it is missing or unreadable. Only the header is read, unless a PNG has metadata
    after its pixels.
    """
    if picture.format == "TIFF":
        return 1  # Pillow rotates it when decoding, and reports the size of the rotated picture
    try:
        with _without_warnings():
            early = "exif" in picture.info or not _late_metadata(picture)
            # Pillow decodes a whole PNG to find that it has no EXIF; its base class does not.
            read = (
                Image.Image.getexif if picture.format == "PNG" and early else type(picture).getexif
            )
            value = read(picture).get(ORIENTATION, 1)
    except _DECODER_ERRORS:
        return 1
    return value if value in range(1, 9) else 1


def _late_metadata(picture: ImageFile.ImageFile) -> bool:
    """Return whether a PNG has EXIF or text after its pixels, where Pillow reads it last."""
    if picture.format != "PNG":
        return False
    assert picture.fp is not None
    start = picture.fp.tell()
    try:
        picture.fp.seek(8)
        pixels = False
        while len(head := picture.fp.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            pixels |= kind == b"IDAT"
            if pixels and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            picture.fp.seek(length + 4, 1)
        return False
    finally:
        picture.fp.seek(start)


def turn_upright(picture: ImageFile.ImageFile) -> int:
    """Rotate a picture in place by its EXIF orientation, and return that orientation."""
    turned = orientation(picture)
    if turned != 1:
        picture.load()
        picture.getexif()[ORIENTATION] = turned
        for key in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
            picture.info.pop(key, None)  # Pillow rewrites it, and fails if it is malformed
        ImageOps.exif_transpose(picture, in_place=True)
    return turned


def pixel_count(path: Path, formats: tuple[str, ...] = IMAGE_FORMATS) -> int:
    """Return the number of pixels of a picture, from the file's header.

    Raises:
        DataError: the file is not a picture, or too large.
    """
    with open_picture(path, formats, checksums=False) as picture:
        return picture.height * picture.width


def image_size(path: Path, formats: tuple[str, ...] = IMAGE_FORMATS) -> tuple[int, int]:
    """Return (height, width) in pixels of the upright picture, from the file's header.

    Raises:
        DataError: the file is not a picture, or too large.
    """
    with open_picture(path, formats, checksums=False) as picture:
        height, width = picture.height, picture.width
        return (width, height) if orientation(picture) >= 5 else (height, width)


def read_image(path: Path, pixel_format: PixelFormat = RGB) -> np.ndarray:
    """Decode a picture of any format to upright ``(H, W, C)`` uint8; see :func:`read_oriented`.

    Raises:
        DataError: the file is missing, damaged, not a picture, too large, or not of this format.
    """
    return read_oriented(path, pixel_format, all_formats())[0]


def read_oriented(
    path: Path, pixel_format: PixelFormat = RGB, formats: tuple[str, ...] = IMAGE_FORMATS
) -> tuple[np.ndarray, int]:
    """Decode a picture to upright ``(H, W, C)`` uint8; also return its EXIF orientation.

    Cameras store some pictures rotated and record that in EXIF. Labelling tools, browsers and
    viewers show them upright, so masks are drawn on the upright picture. The array may be
    read-only.

    Raises:
        DataError: the file is missing, damaged, not a picture, too large, or not of this format.
    """
    with open_picture(path, formats) as picture:
        check_whole(picture, path)  # rotating resets the orientation
        turned = turn_upright(picture)
        return to_pixels(picture, path, pixel_format), turned


def read_boxes(path: Path) -> tuple[Box, ...]:
    """Read the objects of a VOC annotation, whose corners are 1-based and inclusive.

    Raises:
        DataError: malformed XML or more than 16 MiB of it, entity declarations, or an object
            without corners or without a name of at most 200 characters.
    """
    try:
        root = fromstring(read_bytes(path, MAX_ANNOTATION_BYTES))
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

    name = text("name")
    if len(name) > MAX_NAME_LENGTH:
        raise DataError(f"{path}: <name> of more than {MAX_NAME_LENGTH} characters")
    return Box(
        name,
        number("bndbox/xmin") - 1,
        number("bndbox/ymin") - 1,
        number("bndbox/xmax"),
        number("bndbox/ymax"),
        difficult=text("difficult", "0") == "1",
        truncated=text("truncated", "0") == "1",
        occluded=text("occluded", "0") == "1",
        pose=text("pose", "Unspecified"),
    )
