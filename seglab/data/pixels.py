"""Converts images of any channel count and bit depth to ``(H, W, C)`` uint8.

Pillow reads many TIFFs only in part: the first three of four samples, the upper byte of 16-bit
colours. Such files are refused here. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from seglab.errors import DataError
from seglab.schema import DataConfig

SAMPLES_PER_PIXEL = 277
"""The TIFF tag of the number of channels (TIFF 6.0, page 39); 1 where there is none."""

PAGES = "write each channel as a page of a greyscale TIFF"
"""The way around everything that Pillow cannot read."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The pixel format of a data set.

    Attributes:
        channels: C. With 3, every 8-bit image is converted to RGB; otherwise its channels, or its
            pages if it has several, are read unchanged.
        value_range: the values that become 0 and 255 in images of more than 8 bits. Values between
            are scaled linearly and rounded, values outside are clipped. None: only 8-bit images are
            read.
    """

    channels: int = 3
    value_range: tuple[float, float] | None = None

    @classmethod
    def configured(cls, config: DataConfig) -> Self:
        """Return the configured format."""
        low_high = config.value_range
        return cls(config.channels, (low_high[0], low_high[1]) if low_high else None)

    def meaning(self) -> list[Any]:
        """Return the format as part of a data set's digest; empty for 8-bit RGB."""
        return [] if self == PixelFormat() else [self.channels, self.value_range]


RGB = PixelFormat()


def to_pixels(
    picture: Image.Image, path: Path | str, pixel_format: PixelFormat = RGB
) -> np.ndarray:
    """Return the pixels of an opened picture, upright: ``(H, W, C)`` uint8, maybe read-only.

    Raises:
        DataError: names ``path``, the problem, and the key or the change that fixes it.
    """
    pages = _count_pages(picture, pixel_format.channels)
    if pages > 1:
        if pages != pixel_format.channels:
            more = " or more" if pages > pixel_format.channels else ""
            raise _wrong_count(path, f"{pages}{more} pages, each a channel", pixel_format)
        planes = [_page(picture, path, pixel_format, number) for number in range(pages)]
        return np.stack(planes, -1)
    check_whole(picture, path)
    if picture.mode[0] in "IF":
        return np.repeat(
            _scaled(picture, path, pixel_format)[..., None], _copies(path, pixel_format), -1
        )
    _check_8_bits(path, pixel_format)
    if pixel_format.channels == 3:
        # Pillow warns about transparency without this detour.
        transparent = "transparency" in picture.info
        picture = picture.convert("RGBA") if transparent else picture
        # Converting RGB to RGB would copy, as np.array would.
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    if picture.mode in ("1", "L") and pixel_format.channels == 1:
        return np.array(picture.convert("L"))[..., None]
    if picture.mode == "P" or len(picture.getbands()) != pixel_format.channels:
        raise _wrong_count(
            path, f"mode {picture.mode}, {len(picture.getbands())} channels", pixel_format
        )
    return np.array(picture)


def _page(
    picture: Image.Image, path: Path | str, pixel_format: PixelFormat, number: int
) -> np.ndarray:
    """Return one page of several as ``(H, W)`` uint8."""
    size = picture.size
    picture.seek(number)
    if picture.size != size or len(picture.getbands()) != 1 or picture.mode == "P":
        raise DataError(
            f"{path}: page {number + 1} has {picture.width}x{picture.height} pixels of mode "
            f"{picture.mode}; pages are channels: greyscale, all of one size"
        )
    check_whole(picture, path)
    if picture.mode[0] in "IF":
        return _scaled(picture, path, pixel_format)
    _check_8_bits(path, pixel_format)
    return np.array(picture.convert("L"))


def _count_pages(picture: Image.Image, most: int) -> int:
    """Return the number of pages, up to ``most`` + 1: a file may claim millions."""
    if picture.format != "TIFF":
        return 1
    pages = 1
    try:
        for pages in range(1, most + 1):
            picture.seek(pages)
        pages = most + 1
    except EOFError:
        pass
    picture.seek(0)
    return pages


def check_whole(picture: Image.Image, path: Path | str) -> None:
    """Check that Pillow reads every channel at full depth.

    Raises:
        DataError: it does not.
    """
    samples = getattr(picture, "tag_v2", {}).get(SAMPLES_PER_PIXEL, 1)
    raw = _raw_mode(picture)
    bands = len(picture.getbands())
    if samples > bands:
        raise DataError(
            f"{path}: {samples} channels, of which Pillow reads {bands}: {PAGES}, or a fourth "
            "channel as unassociated alpha"
        )
    if ";16" in raw and picture.mode[0] not in "IF":
        raise DataError(f"{path}: {bands} channels of 16 bits, of which Pillow reads 8: {PAGES}")
    if raw.startswith("RGBa"):
        raise DataError(f"{path}: colours multiplied by alpha, which Pillow divides again: {PAGES}")
    if picture.mode == "I" and not raw.startswith("I;16") and raw:
        raise DataError(f"{path}: integers of 32 bits; write 16 bits, or floating point")


def _raw_mode(picture: Image.Image) -> str:
    """Return Pillow's raw mode of the file; empty for a picture in memory."""
    tiles: Any = getattr(picture, "tile", None)
    arguments = tiles[0].args if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _scaled(picture: Image.Image, path: Path | str, pixel_format: PixelFormat) -> np.ndarray:
    """Scale ``(H, W)`` of more than 8 bits to uint8."""
    values = np.array(picture).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: contains NaN or infinity")
    if pixel_format.value_range is None:
        raise DataError(
            f"{path}: mode {picture.mode}, more than 8 bits per channel, values "
            f"{values.min():g} to {values.max():g}; give data.value_range=[LOW,HIGH], the values "
            "that become 0 and 255, such as [0,65535]"
        )
    low, high = pixel_format.value_range
    scaled = (values - np.float32(low)) * np.float32(255 / (high - low))
    pixels: np.ndarray = np.rint(scaled).clip(0, 255).astype(np.uint8)
    return pixels


def _copies(path: Path | str, pixel_format: PixelFormat) -> int:
    """Return how often a grey plane is repeated: three times for RGB."""
    if pixel_format.channels not in (1, 3):
        raise _wrong_count(path, "1 channel", pixel_format)
    return pixel_format.channels


def _check_8_bits(path: Path | str, pixel_format: PixelFormat) -> None:
    if pixel_format.value_range is not None:
        low, high = pixel_format.value_range
        raise DataError(
            f"{path}: 8 bits per channel; data.value_range=[{low:g},{high:g}] is for images of "
            "more: give null, or images that all have more"
        )


def _wrong_count(path: Path | str, text: str, pixel_format: PixelFormat) -> DataError:
    return DataError(
        f"{path}: {text}; data.channels={pixel_format.channels} needs {pixel_format.channels}"
    )
