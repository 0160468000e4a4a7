"""Images of any channel count and depth: what cannot be read whole is refused, by name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.data.files import image_size, read_image
from seglab.data.pixels import PixelFormat
from seglab.errors import DataError

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
FOUR = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)


def write_tiff(path: Path, pixels: np.ndarray, photometric: int, extra: list[int]) -> Path:
    """Write an uncompressed little-endian TIFF with interleaved samples (TIFF 6.0)."""
    height, width, samples = pixels.shape
    data = pixels.tobytes()
    tags: list[tuple[int, str, list[int]]] = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [pixels.dtype.itemsize * 8] * samples),
        (259, "H", [1]),
        (262, "H", [photometric]),
        (273, "I", [0]),
        (277, "H", [samples]),
        (278, "I", [height]),
        (279, "I", [len(data)]),
        *([(338, "H", extra)] if extra else []),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    entries, blocks = b"", b""
    for tag, kind, values in tags:
        content = struct.pack(f"<{len(values)}{kind}", *values)
        if tag == 273:
            content = struct.pack("<I", start + 64)
        if len(content) > 4:
            blocks, content = blocks + content, struct.pack("<I", start + len(blocks))
        entries += struct.pack("<HHI", tag, 3 if kind == "H" else 4, len(values))
        entries += content.ljust(4, b"\0")
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    path.write_bytes(head + blocks.ljust(64, b"\0") + data)
    return path


def write_pages(path: Path, *pages: np.ndarray) -> Path:
    first, *others = (Image.fromarray(page) for page in pages)
    first.save(path, save_all=True, append_images=others)
    return path


def refused(path: Path, pixel_format: PixelFormat) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path, pixel_format)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_by_the_range_that_is_given(
    tmp_path: Path, suffix: str, channels: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(DEEP).save(path)
    low, high = 1000, 50000
    plain = np.clip(np.rint((DEEP.astype(float) - low) / (high - low) * 255), 0, 255)
    pixels = read_image(path, PixelFormat(channels, (low, high)))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (5, 7, channels)
    assert np.abs(pixels - plain[..., None]).max() <= 1
    whole = read_image(path, PixelFormat(1, (0, 65535)))
    assert np.abs(whole[..., 0] - DEEP / 257).max() <= 0.51
    assert "give data.value_range=[LOW,HIGH]" in refused(path, PixelFormat(channels))


def test_signed_and_floating_point_values_are_scaled_too(tmp_path: Path) -> None:
    heights = RNG.normal(0, 100, (5, 7)).astype(np.float32)
    path = tmp_path / "a.tif"
    Image.fromarray(heights).save(path)
    pixels = read_image(path, PixelFormat(1, (-100, 100)))
    plain = np.clip((heights + 100) / 200 * 255, 0, 255)
    assert np.abs(pixels[..., 0] - plain).max() <= 0.51
    heights[2, 3] = np.nan
    Image.fromarray(heights).save(path)
    assert "NaN" in refused(path, PixelFormat(1, (-100, 100)))
    write_tiff(path, DEEP.astype(np.uint32)[..., None], 1, [])
    assert "32 bits" in refused(path, PixelFormat(1, (0, 65535)))


def test_a_range_is_not_for_images_of_8_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(FOUR[..., 0]).save(path)
    assert "data.value_range=[0,65535]" in refused(path, PixelFormat(1, (0, 65535)))


def test_channels_are_taken_as_they_are(tmp_path: Path) -> None:
    grey, alpha, four, ink = (tmp_path / name for name in ("g.png", "la.png", "a.tif", "c.tif"))
    Image.fromarray(FOUR[..., 0]).save(grey)
    np.testing.assert_array_equal(read_image(grey, PixelFormat(1)), FOUR[..., :1])
    np.testing.assert_array_equal(read_image(grey), FOUR[..., :1].repeat(3, 2))
    Image.merge("LA", [Image.fromarray(FOUR[..., k]) for k in (0, 1)]).save(alpha)
    np.testing.assert_array_equal(read_image(alpha, PixelFormat(2)), FOUR[..., :2])
    Image.fromarray(FOUR).save(four)
    np.testing.assert_array_equal(read_image(four, PixelFormat(4)), FOUR)
    np.testing.assert_array_equal(read_image(four), FOUR[..., :3])
    Image.merge("CMYK", [Image.fromarray(FOUR[..., k]) for k in range(4)]).save(ink)
    np.testing.assert_array_equal(read_image(ink, PixelFormat(4)), FOUR)
    assert "data.channels=2 needs 2" in refused(four, PixelFormat(2))
    assert "mode RGBA, 4 channels; data.channels=1" in refused(four, PixelFormat(1))
    palette = tmp_path / "p.png"
    Image.fromarray(FOUR[..., 0]).convert("P").save(palette)
    assert "mode P" in refused(palette, PixelFormat(1))


@pytest.mark.parametrize("channels", [2, 3, 5, 12])
def test_pages_are_channels(tmp_path: Path, channels: int) -> None:
    planes = RNG.integers(0, 256, (channels, 5, 7), dtype=np.uint8)
    path = write_pages(tmp_path / "a.tif", *planes)
    pixel_format = PixelFormat(channels)
    np.testing.assert_array_equal(read_image(path, pixel_format), np.moveaxis(planes, 0, -1))
    assert image_size(path) == (5, 7)
    deep = write_pages(tmp_path / "b.tif", *(plane.astype(np.uint16) * 257 for plane in planes))
    scaled = read_image(deep, PixelFormat(channels, (0, 65535)))
    np.testing.assert_array_equal(scaled, np.moveaxis(planes, 0, -1))
    assert f"needs {channels + 1}" in refused(path, PixelFormat(channels + 1))
    fewer = refused(path, PixelFormat(channels - 1))
    assert f"{channels} or more pages" in fewer
    odd = write_pages(tmp_path / "c.tif", *planes[1:], planes[0, :4])
    assert "all of one size" in refused(odd, pixel_format)


def test_what_pillow_reads_in_part_is_refused_rather_than_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    wide = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    cases = {
        "4 channels, of which Pillow reads 3": (FOUR, 2, [0]),
        "5 channels, of which Pillow reads 3": (np.dstack([FOUR, FOUR[..., :1]]), 2, [0, 0]),
        "2 channels, of which Pillow reads 1": (FOUR[..., :2].copy(), 1, [0]),
        "multiplied by alpha": (FOUR, 2, [1]),
        "of 16 bits, of which Pillow reads 8": (wide, 2, []),
        "whose channels Pillow cannot read": (FOUR, 1, [0, 0, 0]),
    }
    for expected, (pixels, photometric, extra) in cases.items():
        write_tiff(path, pixels, photometric, extra)
        for channels in (3, pixels.shape[2]):
            assert expected in refused(path, PixelFormat(channels))
    # The writer itself is right: Pillow reads what it can.
    write_tiff(path, FOUR, 2, [2])
    np.testing.assert_array_equal(read_image(path, PixelFormat(4)), FOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once_and_its_size_says_so(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(FOUR[..., :3].copy()).save(path, tiffinfo={274: orientation})
    with Image.open(path) as picture:
        upright = np.array(picture)  # Pillow turns a TIFF when it decodes
    assert (upright.shape[:2] == (7, 5)) == (orientation > 4)
    np.testing.assert_array_equal(read_image(path), upright)
    assert image_size(path) == upright.shape[:2]
